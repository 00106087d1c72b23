"""Count the Gaussians that a dense and a sparse generator reach, by PacGAN's protocol.

All seeds of a setting train in one compiled program.

    python benchmarks/gaussians.py [--config gaussians_flow] [--mixture grid --mixture ring]
        [--strengths 0 2e-5] [--seeds 10] [--steps N]
    python benchmarks/gaussians.py --smoke   # a few steps of two seeds; keeps nothing

Trains `experiments/gaussians.py`, a GAN, or `gaussians_flow.py` on 100,000 points and judges 2,500
from the averaged generator: modes reached, share of points within three standard deviations of a
mean, reverse divergence of the modes' shares (Lin et al., "PacGAN", NeurIPS 2018, section 4.1).
Peers' figures are those papers report.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key
from measure import RESULTS, write_result
from seeds import CHUNK, keys, start, trainer

from l1jax.cli.experiment_file import load_experiment
from l1jax.config import L1, Config, MixtureData
from l1jax.data.mixture_source import MIXTURES, Mixture, draw_points
from l1jax.evaluation.coverage import ModeCoverage, mode_coverage
from l1jax.penalties import sparsity
from l1jax.training.state import GanState, GeneratorState, Task
from l1jax.training.task import make_task

POINTS, SAMPLES = 100_000, 2_500
OUTPUTS = {"gaussians": "gaussians", "gaussians_flow": "gaussians-flow"}  # experiment → result
REPORTED = {
    "grid": {
        "GAN (PacGAN, table 2)": {"modes": 17.3, "high_quality": 0.948, "reverse_kl": 0.70},
        "PacGAN4": {"modes": 24.8, "high_quality": 0.936, "reverse_kl": 0.04},
    },
    "ring": {"PacGAN2": {"modes": 7.9, "high_quality": 0.956}},
}


def judge(
    task: Task, mixture: Mixture, state: GanState | GeneratorState, key: Key[Array, ""]
) -> tuple[ModeCoverage, Array]:
    """Coverage of one seed's averaged generator, and the share of zeros in its kernels."""
    latents = task.generator.latents(key, SAMPLES)
    average = state.average
    points, _ = task.generator.network.apply(
        average.params, average.batch_stats, latents, False, None
    )
    zeros = sparsity(average.params, r"(^|/)kernel$").total
    return mode_coverage(
        points.reshape(SAMPLES, 2), jnp.asarray(mixture.means), mixture.deviation
    ), zeros


def fit(experiment: Config, seeds: int, chunk: int) -> dict[str, Any]:
    """Train all seeds of one setting.

    Returns the mean and standard deviation of what they reach, and the curve over the steps.

    The seeds are judged every `chunk` steps, which are one compiled call.
    """
    assert isinstance(experiment.data, MixtureData)
    mixture = MIXTURES[experiment.data.shape]()
    points, _ = draw_points(mixture, POINTS, experiment.data.draw_seed)
    task = make_task(experiment, (1, 1, 2))
    train = trainer(task, jnp.asarray(points).reshape(-1, 1, 1, 2), experiment.batch_size, chunk)
    judged = jax.jit(jax.vmap(lambda state, key: judge(task, mixture, state, key)))

    state = start(task, seeds)
    curve, begin = [], time.perf_counter()
    for step in range(chunk, experiment.steps + 1, chunk):
        state = train(state, keys(seeds, "training"))
        coverage, zeros = judged(state, keys(seeds, "samples"))
        values = {**coverage._asdict(), "zeros": zeros}
        curve.append(
            {"step": step, **{name: float(jnp.mean(value)) for name, value in values.items()}}
        )
        print({name: round(value, 4) for name, value in curve[-1].items()}, flush=True)
    reached = {
        name: {"mean": float(np.mean(v)), "sd": float(np.std(v, ddof=1))}
        for name, v in values.items()
    }
    return {**reached, "seconds": time.perf_counter() - begin, "curve": curve}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=OUTPUTS, default="gaussians")
    parser.add_argument("--mixture", choices=MIXTURES, action="append", help="default: both")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 2e-5])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--steps", type=int, help=f"a multiple of {CHUNK}; default: the experiment's"
    )
    parser.add_argument("--output", type=Path, help="default: in benchmarks/results")
    parser.add_argument(
        "--smoke", action="store_true", help="a few steps of two seeds; keeps nothing"
    )
    options = parser.parse_args(arguments)
    chunk = CHUNK
    if options.smoke:
        chunk, options.steps, options.seeds = 2, 4, 2
        options.mixture = ["ring"]
    experiment = load_experiment(options.config)
    experiment = dataclasses.replace(experiment, steps=options.steps or experiment.steps)
    results: dict[str, Any] = {}
    for shape in options.mixture or MIXTURES:
        results[shape] = {"reported": REPORTED[shape], "strengths": {}}
        for strength in options.strengths:
            print(f"{shape}, strength {strength:g}, {options.seeds} seeds", flush=True)
            penalised = dataclasses.replace(experiment.generator, penalty=L1(strength))
            setting = dataclasses.replace(experiment, data=MixtureData(shape), generator=penalised)
            results[shape]["strengths"][f"{strength:g}"] = fit(setting, options.seeds, chunk)
    if options.smoke:
        return
    command = "python benchmarks/gaussians.py " + " ".join(
        sys.argv[1:] if arguments is None else arguments
    )
    name = f"{OUTPUTS[options.config]}-{jax.default_backend()}.json"
    write_result(
        options.output or RESULTS / name,
        command,
        {"seeds": options.seeds, "steps": experiment.steps, "mixtures": results},
    )


if __name__ == "__main__":
    main()
