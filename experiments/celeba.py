"""DCGAN on CelebA 64×64 with an L1-proximal generator.

Run:      python -m l1jax.train --config celeba --workdir runs/celeba
          reads the TFDS set celeb_a, prepared as ArrayRecord
          (pip install 'l1jax[tfds]' to prepare it)
or:       python -m l1jax.train --config celeba --data image --data.path img_align_celeba.zip
          reads a folder, tar or zip of the aligned images
Measured: not yet: CelebA could not be downloaded where this was written
"""

from l1jax.config import L1, Adversarial, Config, Dcgan, Optimizer, TfdsData


def get_config() -> Config:
    return Config(
        data=TfdsData("celeb_a", image_size=64, channels=3, crop=178),
        model=Dcgan(latent_size=100, channels=64),
        objective=Adversarial(loss="non_saturating"),
        generator=Optimizer(learning_rate=2e-4, b1=0.5, penalty=L1(1e-4)),
        discriminator=Optimizer(learning_rate=2e-4, b1=0.5),
        steps=100_000,
        batch_size=64,
        log_every=100,
        sample_every=1_000,
        checkpoint_every=5_000,
    )
