r"""Flow matching on spoken digits: ten classes of words, as spectrograms and as sound.

A U-Net of 314,608 parameters. Squares of 4×4 pixels of a spectrogram are one pixel of the network,
whose levels have 16 and 8 pixels. A tenth of the labels is left out in training, so that drawing
can be guided by the class.

Run:      python -m l1jax.train --config flow_spoken_digits --data.path FOLDER \
              --workdir runs/flow_spoken_digits
Measured: not yet to its end
"""

from l1jax.config import AudioData, Config, FlowMatching, Optimizer, Schedule, Unet

STEPS = 2_600


def get_config() -> Config:
    falling = Schedule("cosine", steps=STEPS, end=0.01)
    return Config(
        data=AudioData(),
        model=Unet(
            channels=32,
            multipliers=(1, 1),
            blocks=1,
            patch_size=4,
            classes=10,
            sampling_steps=8,
            guidance=1.0,
        ),
        objective=FlowMatching(label_dropout=0.1),
        generator=Optimizer(learning_rate=2e-3, b1=0.9, b2=0.99, learning_rate_schedule=falling),
        discriminator=None,
        steps=STEPS,
        batch_size=32,
        log_every=100,
        sample_every=500,
        checkpoint_every=250,
    )
