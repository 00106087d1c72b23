"""How numbers were taken, to stand beside them in `evaluation.json`."""

import platform

import jax
import numpy as np
from PIL import __version__ as pillow_version

from l1jax.evaluation.comparison import JsonObject


def environment() -> JsonObject:
    """Describe the packages and the device that numbers are computed with."""
    return {
        "versions": {
            "jax": jax.__version__,
            "numpy": np.__version__,
            "pillow": pillow_version,
            "python": platform.python_version(),
        },
        "device": f"{len(jax.devices())} × {jax.devices()[0].device_kind}",
    }


def describe_drawing(classes: int, count: int, num_seeds: int) -> JsonObject:
    """Describe what was drawn from a generator.

    Args:
        classes: of the generator; 0 without any.
        count: images per seed.
        num_seeds: number of seeds.
    """
    latents = "standard normal, those of l1jax.sample"
    if classes:
        latents += ", classes in turn"
    seeds = "for the seed 0"
    if num_seeds > 1:
        seeds = f"for each of the seeds 0 to {num_seeds - 1}"
    return {"generated": f"{count:,} of the averaged generator {seeds}", "latents": latents}
