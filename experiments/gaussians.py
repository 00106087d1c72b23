"""A sparse generator of points in the plane: 25 Gaussians on a grid, or 8 on a ring (--data.shape ring).

Run:      python -m l1jax.train --config gaussians --workdir runs/gaussians
Measured: to be measured
"""

from l1jax.config import L1, Adversarial, Config, MixtureData, MlpGan, Optimizer


def get_config() -> Config:
    return Config(
        data=MixtureData("grid"),
        model=MlpGan(
            latent_size=8, generator_hidden=(128, 128, 128), discriminator_hidden=(128, 128, 128), output="linear"
        ),
        objective=Adversarial(loss="relativistic_pairing", r1=0.1, r2=0.1),
        generator=Optimizer(learning_rate=5e-4, b1=0.5, b2=0.99, penalty=L1(4e-4)),
        discriminator=Optimizer(learning_rate=5e-4, b1=0.5, b2=0.99),
        steps=20_000,
        batch_size=256,
        log_every=500,
        sample_every=5_000,
        checkpoint_every=5_000,
    )
