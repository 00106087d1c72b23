r"""Flow matching on CIFAR-10 with the widths and the settings of Tong et al. (TMLR 2024).

Residual blocks, scaled and shifted by the time, and attention at 16 pixels: 38,307,203 parameters.
An image is reached from noise in 16 midpoint steps, which are 32 evaluations.

Run:      python -m l1jax.train --config flow_cifar10 --data.path FOLDER_OR_ARCHIVE \
              --workdir runs/flow_cifar10
          (any images, resized to 32×32; --data.subfolder train if there is a test folder beside)
Measured: not yet; sized for a GPU
"""

from l1jax.config import Config, FlowMatching, ImageData, Optimizer, Schedule, Unet


def get_config() -> Config:
    return Config(
        data=ImageData(image_size=32),
        model=Unet(
            channels=128,
            multipliers=(1, 2, 2, 2),
            blocks=2,
            attention=(16,),
            head_size=64,
            predicts="velocity",
            generator_dropout=0.1,
        ),
        objective=FlowMatching(times="uniform"),
        generator=Optimizer(
            learning_rate=2e-4, b1=0.9, b2=0.999, learning_rate_schedule=Schedule(warmup=5_000)
        ),
        discriminator=None,
        steps=400_000,
        batch_size=128,
        flip=True,
        ema_half_life=887_000.0,
        log_every=20,
        sample_every=1_000,
        checkpoint_every=1_000,
    )
