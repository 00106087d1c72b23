r"""Flow matching on 64×64 faces, or on any folder or archive of images.

A U-Net of 21,713,601 parameters, whose levels have 64, 32, 16 and 8 pixels. An image is reached
from noise in 16 midpoint steps, which are 32 evaluations.

Run:      python -m l1jax.train --config flow_faces --data.path FOLDER_OR_ARCHIVE \
              --workdir runs/flow_faces
          (--data.channels 3 for colour)
Measured: not yet; sized for a GPU
"""

from l1jax.config import Config, FlowMatching, ImageData, Optimizer, Schedule, Unet

STEPS = 100_000


def get_config() -> Config:
    falling = Schedule("cosine", steps=STEPS, warmup=1_000, end=0.01)
    return Config(
        data=ImageData(image_size=64, channels=1),
        model=Unet(channels=64, multipliers=(1, 2, 3, 4), blocks=2, attention=(16,)),
        objective=FlowMatching(),
        generator=Optimizer(learning_rate=2e-4, b1=0.9, b2=0.99, learning_rate_schedule=falling),
        discriminator=None,
        steps=STEPS,
        batch_size=64,
        flip=True,
        log_every=20,
        sample_every=1_000,
        checkpoint_every=1_000,
    )
