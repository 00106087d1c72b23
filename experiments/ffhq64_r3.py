r"""R3GAN on FFHQ 64×64, as its authors published it.

768 channels at 4 to 32 pixels and 384 at 64, two blocks at each size, no classes.
Learning rate, γ, b2, the average's half-life and the probability of augmentation follow cosines
over 20 million images. How long they trained after that is not known here: `steps` is where the
cosines end. The published networks compute their larger images in float16, these in float32;
--model.dtype bfloat16 halves the memory. For a sparse one: --generator.penalty.strength 1e-5

Run:      python -m l1jax.train --config ffhq64_r3 --data.path FOLDER_OR_ARCHIVE \
              --workdir runs/ffhq64_r3
Try it:   the same with --try, on a CPU
Measured: not yet; at this size it needs several GPUs
Source:   Huang et al., NeurIPS 2024, and the settings in its authors' program
"""

from l1jax.config import (
    Adversarial,
    Config,
    ImageData,
    Optimizer,
    R3gan,
    Ramp,
    RampedAda,
    Schedule,
)

STEPS = 78_125  # 20 million images in batches of 256
OPTIMIZER = Optimizer(
    learning_rate=2e-4,
    learning_rate_schedule=Schedule("cosine", steps=STEPS, end=0.25),
    b1=0.0,
    b2=0.9,
    b2_ramp=Ramp(STEPS, 0.99),
)


def get_config() -> Config:
    return Config(
        data=ImageData(image_size=64),
        model=R3gan(channels=768, blocks=2),
        objective=Adversarial(
            loss="relativistic_pairing",
            r1=2.0,
            r2=2.0,
            gamma_ramp=Ramp(STEPS, 0.2),
            augment=RampedAda(0.0, Ramp(STEPS, 0.3)),
        ),
        generator=OPTIMIZER,
        discriminator=OPTIMIZER,
        steps=STEPS,
        batch_size=256,
        flip=True,
        ema_half_life=0.0,
        ema_ramp=Ramp(STEPS, 5e5),
        log_every=20,
        sample_every=1_000,
        checkpoint_every=1_000,
    )
