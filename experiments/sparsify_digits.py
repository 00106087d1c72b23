r"""Nine in ten kernel entries of a trained digits GAN become zero: by L0, slowly, then debiased.

The share of zeros rises to its target over the first half of the steps. At 60 % the zeros are
fixed, and the rest trains on without being shrunk. `--generator.sparsity-target` takes another
share.

Run:      python -m l1jax.train --generator.penalty.strength 0 --workdir runs/dense
          python -m l1jax.train --config sparsify_digits --from runs/dense \
              --workdir runs/sparsify_digits
          python -m l1jax.compact --workdir runs/sparsify_digits --output digits-compact
Measured: TODO
"""

from l1jax.config import L0, Adversarial, Config, DigitsData, MlpGan, Optimizer, Schedule


def get_config() -> Config:
    return Config(
        data=DigitsData(),
        model=MlpGan(latent_size=64, generator_hidden=(256, 256), discriminator_hidden=(256, 256)),
        objective=Adversarial(loss="relativistic_pairing", r1=0.3, r2=0.3),
        generator=Optimizer(
            learning_rate=3e-4,
            b1=0.5,
            b2=0.99,
            penalty=L0(1e-8),
            strength_schedule=Schedule(warmup=1_500),
            sparsity_target=0.9,
            debias_after=1_800,
        ),
        discriminator=Optimizer(learning_rate=3e-4, b1=0.5, b2=0.99),
        steps=3_000,
        batch_size=64,
        ema_half_life=10_000,
        log_every=250,
        sample_every=1_500,
        checkpoint_every=1_500,
    )
