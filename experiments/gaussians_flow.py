"""Flow matching on a ring of 8 Gaussians, or a grid of 25 (--data.shape grid).

A dense network predicts the point; Heun's last step ends at what it predicts there. The GAN on the
same points is the experiment gaussians.

Run:      python -m l1jax.train --config gaussians_flow --workdir runs/gaussians_flow
Measured: benchmarks/gaussians.py --config gaussians_flow, PacGAN's protocol, 3 seeds, 2,500 points
          each, about a minute a seed (JAX 0.10.2, 2 busy CPU cores; mean):
          ring   8.0 of 8 modes   96.7 % high quality  reverse KL .0014
          grid  25.0 of 25 modes  98.9 % high quality  reverse KL .0092
          The GAN has 97.7 % and .0022 on the ring, 96.0 % and .0057 on the grid
"""

from l1jax.config import Config, FlowMatching, FlowMlp, MixtureData, Optimizer, Schedule

STEPS = 20_000


def get_config() -> Config:
    falling = Schedule("cosine", steps=STEPS, end=0.01)
    adam = Optimizer(learning_rate=2e-3, b1=0.9, b2=0.99, learning_rate_schedule=falling)
    return Config(
        data=MixtureData("ring"),
        model=FlowMlp(hidden=(128, 128, 128), output="linear", method="heun"),
        objective=FlowMatching(),
        generator=adam,
        discriminator=None,
        steps=STEPS,
        batch_size=128,
        log_every=1_000,
        sample_every=2_000,
        checkpoint_every=2_000,
    )
