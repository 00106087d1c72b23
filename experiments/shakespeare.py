"""A transformer on one file of text, such as 1.1 MB of plays.

Run:      python -m l1jax.train --config shakespeare --data.path FILE --workdir runs/plays
Measured: (pending)
"""

from l1jax.config import Config, NextToken, Optimizer, Schedule, TextData, Transformer


def get_config() -> Config:
    return Config(
        data=TextData(window=64),
        model=Transformer(width=128, layers=4, heads=4, context=64),
        objective=NextToken(),
        generator=Optimizer(
            learning_rate=2e-3,
            b1=0.9,
            b2=0.99,
            learning_rate_schedule=Schedule("cosine", warmup=100, steps=2_000, end=0.05),
        ),
        discriminator=None,
        steps=2_000,
        batch_size=16,
        ema_half_life=1_000,
        holdout=0.1,
        log_every=50,
        sample_every=500,
        checkpoint_every=500,
    )
