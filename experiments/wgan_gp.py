"""WGAN-GP on scikit-learn's digits, five critic steps to each of an L1-proximal generator (Gulrajani et al., 2017).

Run:      python -m l1jax.train --config wgan_gp --workdir runs/wgan_gp
Measured: to be measured
"""

from l1jax.config import L1, Adversarial, Config, DigitsData, MlpGan, Optimizer


def get_config() -> Config:
    return Config(
        data=DigitsData(),
        model=MlpGan(latent_size=64, generator_hidden=(256, 256), discriminator_hidden=(256, 256)),
        objective=Adversarial(loss="wasserstein", wgan_gp=10.0, n_critic=5),
        generator=Optimizer(learning_rate=3e-4, b1=0.0, b2=0.9, penalty=L1(1e-3)),
        discriminator=Optimizer(learning_rate=3e-4, b1=0.0, b2=0.9),
        steps=20_000,
        batch_size=64,
        log_every=500,
        sample_every=5_000,
        checkpoint_every=5_000,
    )
