"""What `evaluate` measures of a generator of sound, besides its spectrograms as images."""

import statistics
import time
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from l1jax import config
from l1jax.compaction.compact_network import compact
from l1jax.data.batches import shuffled_indices
from l1jax.data.source import Source, take
from l1jax.data.spectrograms import mel_settings
from l1jax.evaluation.comparison import JsonObject
from l1jax.evaluation.manifold import nearest_neighbours
from l1jax.models.summary import layers
from l1jax.reporting.sound import make_sounds
from l1jax.serialization.loaded_generator import LoadedGenerator
from l1jax.terminal import Say
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.state import Average

NUM_TIMED_CLIPS = 64
NUM_TIMED_ROUNDS = 5
NUM_COMPARED_CLIPS = 500  # whose nearest training clip is looked for
MAX_TRAINING_CLIPS = 20_000  # among which it is looked for

Images = UInt8[np.ndarray, "count mels frames 1"]


def evaluate_sound(
    loaded: LoadedGenerator,
    data: config.Sound,
    training: Source,
    held_out: Images | None,
    say: Say,
) -> JsonObject:
    """Measure the speed of a generator of sound, and how near its clips are to the training's.

    Args:
        loaded: the generator.
        data: how recordings became spectrograms.
        training: the spectrograms that it was trained on.
        held_out: real spectrograms that it was not trained on, in a random order; None for none.
        say: takes a sentence about what could not be measured.

    Returns:
        `clips` made at once; `milliseconds_per_clip` and `real_time_factor`, seconds of sound per
        second, of the generator; under `compact` the same without its dead channels, if it has
        any; and `nearest_training_clip`, see `compare_with_training`.
    """
    generators = {"dense": loaded}
    smaller = without_dead_channels(loaded, say)
    if smaller is not None:
        generators["compact"] = smaller
    speeds = measure_speeds(generators, data)
    result = {"clips": NUM_TIMED_CLIPS, **speeds["dense"]}
    if smaller is not None:
        result["compact"] = speeds["compact"]
    result["nearest_training_clip"] = compare_with_training(loaded, data, training, held_out)
    return result


def without_dead_channels(loaded: LoadedGenerator, say: Say) -> LoadedGenerator | None:
    """Compact a generator; None if it has no dead channels, or is compact already.

    Args:
        loaded: the generator.
        say: takes a sentence if its layers are of a kind that cannot be compacted.
    """
    average = loaded.average
    if loaded.layout:
        return None
    try:
        smaller = compact(loaded.generator, average.params, average.batch_stats)
    except ValueError as error:
        say(f"the generator without its dead channels is not timed: {error}")
        return None
    flops_before = sum(layer.flops for layer in layers(loaded.generator.network.init))
    flops_after = sum(layer.flops for layer in layers(smaller.generator.network.init))
    if flops_after >= flops_before:
        return None
    return loaded._replace(
        generator=smaller.generator, average=Average(smaller.params, smaller.batch_stats)
    )


def measure_speeds(
    generators: Mapping[str, LoadedGenerator], data: config.Sound
) -> dict[str, JsonObject]:
    """Time the way from latents to sound, of several generators in turn.

    Args:
        generators: by name.
        data: how recordings became spectrograms.

    Returns:
        By name, the median of `milliseconds_per_clip`, and the `real_time_factor`.
    """
    runs = {name: _timed_run(loaded, data) for name, loaded in generators.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(NUM_TIMED_ROUNDS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    speeds = {}
    for name, seconds in times.items():
        seconds_per_clip = statistics.median(seconds[1:]) / NUM_TIMED_CLIPS  # the first compiles
        speeds[name] = {
            "milliseconds_per_clip": 1e3 * seconds_per_clip,
            "real_time_factor": data.frames * data.hop / data.sample_rate / seconds_per_clip,
        }
    return speeds


def _timed_run(loaded: LoadedGenerator, data: config.Sound) -> Callable[[], object]:
    """Build the function that is timed: from latents to clips."""
    sampler = make_sampler(loaded.generator)
    key = named_seed_key(0, "evaluation")
    latents = draw_latents(loaded.generator, key, NUM_TIMED_CLIPS)
    return lambda: make_sounds(sampler(loaded.average, latents), data)


def compare_with_training(
    loaded: LoadedGenerator, data: config.Sound, training: Source, held_out: Images | None
) -> JsonObject:
    """Measure how far drawn clips are from the nearest training clip, beside real clips.

    The distance is the root mean square, over the pixels of two spectrograms, of the difference of
    the natural logarithms. A generator that repeats training clips has a far smaller distance than
    real clips have.

    Args:
        loaded: the generator.
        data: how recordings became spectrograms.
        training: the spectrograms that it was trained on.
        held_out: real spectrograms that it was not trained on, in a random order; None for none.

    Returns:
        The medians `of_drawn` and `of_real`. Real clips are held-out ones, if there are any; else
        training clips, of which the nearest other one is taken. `training_clips` is the number of
        clips among which the nearest is looked for.
    """
    count = min(MAX_TRAINING_CLIPS, training.length)
    known = take(training, shuffled_indices(0, 0, count, training.length))
    key = named_seed_key(0, "evaluation")
    latents = draw_latents(loaded.generator, key, NUM_COMPARED_CLIPS)
    drawn = make_sampler(loaded.generator)(loaded.average, jnp.asarray(latents))
    real = known if held_out is None else held_out
    settings = mel_settings(data)
    per_grey_value = (settings.ceiling - settings.floor) / 255

    def median_distance(images: np.ndarray, *, are_known: bool) -> float:
        rows = images.reshape(len(images), -1)
        nearest = nearest_neighbours(rows, known.reshape(count, -1), k=2 if are_known else 1)
        distances = nearest.distances[:, -1] / np.sqrt(rows.shape[1])
        return float(per_grey_value * np.median(distances))

    return {
        "of_drawn": median_distance(drawn, are_known=False),
        "of_real": median_distance(real[:NUM_COMPARED_CLIPS], are_known=held_out is None),
        "training_clips": count,
    }
