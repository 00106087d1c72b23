r"""Residual networks without normalisation and a sparse generator on CIFAR-10.

The discriminator pairs images relativistically and has the R1 and R2 penalties.

The recipe of R3GAN (Huang et al., NeurIPS 2024) with a narrower network, smaller batches and no
classes. γ, b2, the average's half-life, the probability of augmentation and the learning rate go to
the values that its authors published for CIFAR-10, by their cosines, over these 100,000 steps; the
half-life is a quarter of the images, as theirs. The published size: --model.channels 768
--model.blocks 2 --model.classes 10 --batch-size 512, and 2·10⁷ images until the ramps end.

Run:      python -m l1jax.train --config cifar10_r3 --data.path FOLDER_OR_ARCHIVE \
              --workdir runs/cifar10_r3
          (any images, resized to 32×32; --data.subfolder train if there is a test folder beside)
Try it:   the same with --try, on a CPU
Measured: without the ramps, sized down to 16 channels and batches of 4, 20,000 steps on CIFAR-10,
          12 minutes on 1 CPU core (JAX 0.10.2), finite throughout: outlined blobs on grounds of the
          right colours, 2.0 % zeros. At its size and without the ramps, 12 images/s on 2 busy CPU
          cores; meant for a GPU
"""

import dataclasses

from l1jax.config import (
    L1,
    Adversarial,
    Config,
    ImageData,
    Optimizer,
    R3gan,
    Ramp,
    RampedAda,
    Schedule,
)

STEPS = 100_000
OPTIMIZER = Optimizer(
    learning_rate=2e-4,
    learning_rate_schedule=Schedule("cosine", steps=STEPS, end=0.25),
    b1=0.0,
    b2=0.9,
    b2_ramp=Ramp(STEPS, 0.99),
)


def get_config() -> Config:
    return Config(
        data=ImageData(image_size=32),
        model=R3gan(),
        objective=Adversarial(
            loss="relativistic_pairing",
            r1=0.05,
            r2=0.05,
            gamma_ramp=Ramp(STEPS, 0.005),
            augment=RampedAda(0.0, Ramp(STEPS, 0.55)),
        ),
        generator=dataclasses.replace(OPTIMIZER, penalty=L1(1e-5)),
        discriminator=OPTIMIZER,
        steps=STEPS,
        batch_size=64,
        flip=True,
        ema_half_life=0.0,
        ema_ramp=Ramp(STEPS, 1.6e6),
        log_every=20,
        sample_every=1_000,
        checkpoint_every=1_000,
    )
