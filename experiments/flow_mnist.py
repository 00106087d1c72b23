r"""Flow matching with a small U-Net on MNIST, or Fashion-MNIST.

Squares of 2×2 pixels are one pixel of the network, whose levels have 14 and 7 pixels. An image is
reached from noise in 8 midpoint steps, which are 16 evaluations.

Run:      python -m l1jax.train --config flow_mnist --data.path FOLDER_OF_IDX_FILES \
              --workdir runs/flow_mnist
Measured: all 3,000 steps, in four parts that were resumed, 24 minutes of processor time with four
          compilations (JAX 0.10.2, 2 busy CPU cores), 87 to 214 images/s between them. 1,000
          samples of one seed: Fréchet distance on features of a classifier 62 (5.3 of real images
          against real ones), precision 0.74, recall 0.94, coverage 0.71, 10 of 10 digits, no near
          copies
"""

from l1jax.config import Config, FlowMatching, IdxData, Optimizer, Schedule, Unet

STEPS = 3_000


def get_config() -> Config:
    falling = Schedule("cosine", steps=STEPS, end=0.01)
    return Config(
        data=IdxData(),
        model=Unet(channels=32, multipliers=(1, 1), blocks=1, patch_size=2, sampling_steps=8),
        objective=FlowMatching(),
        generator=Optimizer(learning_rate=2e-3, b1=0.9, b2=0.99, learning_rate_schedule=falling),
        discriminator=None,
        steps=STEPS,
        batch_size=32,
        log_every=100,
        sample_every=1_000,
        checkpoint_every=250,
    )
