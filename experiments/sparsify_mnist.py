r"""Nine in ten kernel entries of a DCGAN of MNIST become zero: by L0, slowly, then debiased.

The share of zeros rises to its target over the first half of the steps. At 60 % the zeros are
fixed, and the rest trains on without being shrunk. `--generator.sparsity-target` takes another
share.

Run:      python -m l1jax.train --config mnist --data.path FOLDER_OF_IDX_FILES \
              --generator.penalty.strength 0 --steps 4000 --workdir runs/dense
          python -m l1jax.train --config sparsify_mnist --data.path FOLDER_OF_IDX_FILES \
              --from runs/dense --workdir runs/sparsify_mnist
Measured: three seeds, 6 minutes of processor time each from the dense run, which took as long (JAX
          0.10.2): 90.0 % zeros; Fréchet distance on a classifier's features 128 ± 3, that of the
          dense runs 120 ± 6, and 108 ± 1 trained on for as long. In one seed the kernel distance
          on pixels was .026, and .013 of the dense run
"""

from l1jax.config import L0, Adversarial, Config, Dcgan, IdxData, Optimizer, Schedule


def get_config() -> Config:
    return Config(
        data=IdxData(),
        model=Dcgan(latent_size=64, channels=32),
        objective=Adversarial(loss="non_saturating"),
        generator=Optimizer(
            learning_rate=2e-4,
            b1=0.5,
            penalty=L0(1e-5),
            strength_schedule=Schedule(warmup=2_000),
            sparsity_target=0.9,
            debias_after=2_400,
        ),
        discriminator=Optimizer(learning_rate=2e-4, b1=0.5),
        steps=4_000,
        batch_size=64,
        log_every=100,
        sample_every=1_000,
        checkpoint_every=1_000,
    )
