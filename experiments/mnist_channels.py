r"""DCGAN on MNIST that loses three quarters of its generator's channels, for `l1jax.compact`.

A group penalty on what each channel feeds grows for 2,000 steps; at 2,400 the channels that are off
stay off, and the others train on without being shrunk.

Run:      python -m l1jax.train --config mnist_channels --data.path FOLDER_OF_IDX_FILES \
              --workdir runs/mnist_channels
          python -m l1jax.compact --workdir runs/mnist_channels --output mnist-compact
Measured: 3 seeds, 8 minutes each on one CPU core (JAX 0.10.2): 74, 73 and 71 % of the channels
          gone, 3.1 to 3.5 times the images per second, an eighth of the bytes, kernel distance 5, 9
          and 7 % above that of the dense run
"""

from l1jax.config import Adversarial, Config, Dcgan, GroupL1, IdxData, Optimizer, Schedule


def get_config() -> Config:
    return Config(
        data=IdxData(),
        model=Dcgan(latent_size=64, channels=64),
        objective=Adversarial(loss="non_saturating"),
        generator=Optimizer(
            learning_rate=2e-4,
            b1=0.5,
            penalty=GroupL1(0.9, groups="input_channels"),
            penalised="^(deconv|image).*kernel$",
            strength_schedule=Schedule(warmup=2_000),
            debias_after=2_400,
        ),
        discriminator=Optimizer(learning_rate=2e-4, b1=0.5),
        steps=4_000,
        batch_size=64,
        log_every=100,
        sample_every=1_000,
        checkpoint_every=800,
    )
