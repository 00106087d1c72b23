"""How numbers were taken, to stand beside them in `evaluation.json`."""

import platform

import jax
import numpy as np
from jaxlib.version import __version__ as jaxlib_version
from PIL import __version__ as pillow_version

import l1jax
from l1jax.evaluation.comparison import MAX_PAIRED, NUM_PAIRS, JsonObject
from l1jax.evaluation.memorisation import SHARE
from l1jax.evaluation.resampling import MAX_KERNEL_ROWS, REPLICATES
from l1jax.evaluation.scores import MAX_ALL_PAIRS, NEIGHBOURS, NUM_SUBSETS, SUBSET_SIZE
from l1jax.models import Generator


def environment() -> JsonObject:
    """Describe the packages, the device and the settings that numbers are computed with."""
    return {
        "settings": {
            "neighbours": NEIGHBOURS,
            "kernel": "(x·y / dimensions + 1)³",
            "kernel_all_pairs_up_to": MAX_ALL_PAIRS,
            "kernel_subsets": NUM_SUBSETS,
            "kernel_subset_size": SUBSET_SIZE,
            "similarity_pairs": NUM_PAIRS,
            "similarity_images": MAX_PAIRED,
            "deviation_parts": REPLICATES,
            "deviation_kernel_images": MAX_KERNEL_ROWS,
            "near_copies_share": SHARE,
        },
        "versions": {
            "l1jax": l1jax.__version__,
            "jax": jax.__version__,
            "jaxlib": jaxlib_version,
            "numpy": np.__version__,
            "pillow": pillow_version,
            "python": platform.python_version(),
        },
        "device": f"{len(jax.devices())} × {jax.devices()[0].device_kind}",
    }


def describe_drawing(generator: Generator, count: int, num_seeds: int) -> JsonObject:
    """Describe what was drawn from a generator.

    Args:
        generator: from which.
        count: images per seed.
        num_seeds: number of seeds.
    """
    latents = "standard normal, those of l1jax.sample"
    if generator.classes:
        latents += ", classes in turn"
    seeds = "for the seed 0"
    if num_seeds > 1:
        seeds = f"for each of the seeds 0 to {num_seeds - 1}"
    drawing = {"generated": f"{count:,} of the averaged generator {seeds}", "latents": latents}
    if generator.velocities is not None:
        sampler = generator.velocities.sampler
        drawing["sampler"] = f"{sampler.method}, steps: {len(sampler.times) - 1}"
        if sampler.guidance:
            drawing["sampler"] += f", guidance {sampler.guidance:g}"
    return drawing
