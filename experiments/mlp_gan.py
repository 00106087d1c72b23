"""A dense generator against a discriminator of four 5×5 convolutions with stride 2.

The generator has the widths 100-1024-1024-64×64×3, leaky ReLU and a sigmoid.

The textbook pair of a GAN with an L1 penalty on the generator, Adam 2e-4, trained here on digits
enlarged to 64×64 grey; give --data image --data.path FOLDER for colour images of your own.

Run:      python -m l1jax.train --config mlp_gan --workdir runs/mlp_gan
Measured: 60 of the 5,000 steps: about 30 images/s on 2 busy CPU cores (JAX 0.10.2), 2 minutes; the
          outline that all digits share, not yet digits; kernel distance 1.0; 0.2 % zeros. Sized
          down to layers of 256, 16 to 128 channels and batches of 8, 20,000 steps in 14 minutes on
          1 core, finite throughout, and collapsed: every sample a 9; 8.5 % zeros. Meant for a GPU
"""

from l1jax.config import L1, Adversarial, Config, DigitsData, MlpGan, Optimizer


def get_config() -> Config:
    return Config(
        data=DigitsData(image_size=64),
        model=MlpGan(
            latent_size=100,
            generator_hidden=(1024, 1024),
            discriminator_channels=(64, 128, 256, 512),
            discriminator_hidden=(),
            output="sigmoid",
        ),
        objective=Adversarial(loss="non_saturating"),
        generator=Optimizer(learning_rate=2e-4, b1=0.5, penalty=L1(1e-5)),
        discriminator=Optimizer(learning_rate=2e-4, b1=0.5),
        steps=5_000,
        batch_size=64,
        log_every=20,
        sample_every=500,
        checkpoint_every=500,
    )
