r"""R3GAN on ImageNet 32×32, as its authors published it.

1,536 channels at all sizes, two blocks at each, 1,000 classes from the names of the folders.
Learning rate, γ, b2, the average's half-life and the probability of augmentation follow cosines
over 200 million images. How long they trained after that is not known here: `steps` is where the
cosines end. The published networks compute their larger images in float16, these in float32;
--model.dtype bfloat16 halves the memory. For a sparse one: --generator.penalty.strength 1e-5

Run:      python -m l1jax.train --config imagenet32_r3 --data.path FOLDER_OR_ARCHIVE \
              --workdir runs/imagenet32_r3
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

STEPS = 48_829  # 200 million images in batches of 4,096
OPTIMIZER = Optimizer(
    learning_rate=2e-4,
    learning_rate_schedule=Schedule("cosine", steps=STEPS, end=0.25),
    b1=0.0,
    b2=0.9,
    b2_ramp=Ramp(STEPS, 0.99),
)


def get_config() -> Config:
    return Config(
        data=ImageData(image_size=32, labels="folders"),
        model=R3gan(channels=1536, blocks=2, group_size=32, classes=1000),
        objective=Adversarial(
            loss="relativistic_pairing",
            r1=0.5,
            r2=0.5,
            gamma_ramp=Ramp(STEPS, 0.05),
            augment=RampedAda(0.0, Ramp(STEPS, 0.5)),
        ),
        generator=OPTIMIZER,
        discriminator=OPTIMIZER,
        steps=STEPS,
        batch_size=4096,
        flip=True,
        ema_half_life=0.0,
        ema_ramp=Ramp(STEPS, 5e7),
        log_every=20,
        sample_every=1_000,
        checkpoint_every=1_000,
    )
