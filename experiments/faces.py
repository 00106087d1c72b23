"""DCGAN on 64×64 faces, or on any folder or archive of images, with an L1-proximal generator.

Run:      python -m l1jax.train --config faces --data.path FOLDER_OR_ARCHIVE --workdir runs/faces
          (--data.channels 3 for colour)
Measured: to be measured
"""

from l1jax.config import L1, Adversarial, Config, Dcgan, ImageData, Optimizer


def get_config() -> Config:
    return Config(
        data=ImageData(image_size=64, channels=1),
        model=Dcgan(latent_size=100, channels=64),
        objective=Adversarial(loss="non_saturating"),
        generator=Optimizer(learning_rate=2e-4, b1=0.5, penalty=L1(1e-4)),
        discriminator=Optimizer(learning_rate=2e-4, b1=0.5),
        steps=20_000,
        batch_size=64,
        log_every=20,
        sample_every=200,
        checkpoint_every=500,
    )
