"""A variational autoencoder with an L1-proximal decoder on scikit-learn's digits, 256 values per pixel.

Run:      python -m l1jax.train --config vae_digits --workdir runs/vae_digits
Measured: to be measured
"""

from l1jax.config import L1, Config, DigitsData, Optimizer, Vae, Variational


def get_config() -> Config:
    return Config(
        data=DigitsData(),
        model=Vae(latent_size=16, hidden=(256, 256), likelihood="discretized_logistic"),
        objective=Variational(),
        generator=Optimizer(learning_rate=1e-3, b1=0.9, penalty=L1(1e-3)),
        discriminator=None,
        encoder=Optimizer(learning_rate=1e-3, b1=0.9),
        steps=10_000,
        batch_size=128,
        log_every=500,
        sample_every=2_000,
        checkpoint_every=2_000,
    )
