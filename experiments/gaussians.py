"""Do a dense and a sparse generator reach every mode of a mixture of Gaussians?

The mixture is a grid of 25, or a ring of 8 (--data.shape ring).

Relativistic pairing with R1 and R2 and a falling learning rate. A generator of leaky ReLUs, or one
with latents of more dimensions, leaves far more points between the modes.

Run:      python -m l1jax.train --config gaussians --workdir runs/gaussians
Measured: benchmarks/gaussians.py, 10 seeds, 2,500 points each (JAX 0.10.2, 2 busy CPU cores; mean):
          grid  strength 0     25.0 of 25 modes  96.0 % high quality  reverse KL .0057   0 % zeros
          grid  strength 1e-5  25.0 of 25 modes  93.7 % high quality  reverse KL .0052  87.9 % zeros
          grid  strength 2e-5  25.0 of 25 modes  92.9 % high quality  reverse KL .0055  91.9 % zeros
          ring  strength 0      8.0 of 8 modes   97.7 % high quality  reverse KL .0022   0 % zeros
          ring  strength 1e-5   8.0 of 8 modes   96.3 % high quality  reverse KL .0020  98.1 % zeros
          PacGAN4 reports 24.8 modes, 93.6 % and .04 on the grid, PacGAN2 7.9 modes and 95.6 % on
          the ring
"""

import dataclasses

from l1jax.config import L1, Adversarial, Config, MixtureData, MlpGan, Optimizer, Schedule

STEPS = 20_000
WIDTHS = (128, 128, 128)


def get_config() -> Config:
    falling = Schedule("cosine", steps=STEPS, end=0.01)
    adam = Optimizer(learning_rate=2e-3, b1=0.0, b2=0.99, learning_rate_schedule=falling)
    return Config(
        data=MixtureData("grid"),
        model=MlpGan(
            latent_size=2,
            generator_hidden=WIDTHS,
            discriminator_hidden=WIDTHS,
            output="linear",
            activation="relu",
        ),
        objective=Adversarial(loss="relativistic_pairing", r1=0.2, r2=0.2),
        generator=dataclasses.replace(adam, penalty=L1(2e-5)),
        discriminator=adam,
        steps=STEPS,
        batch_size=128,
        ema_half_life=88_700.0,
        sample_every=2_000,
        checkpoint_every=2_000,
    )
