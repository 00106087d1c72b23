"""Open the examples that a configuration names.

A source makes one example at a time and keeps none that it decoded; the cache, the split, the
order of the examples and their batches are built on top of it. Opening a source lists its examples;
an image is decoded, and a damaged one noticed, only when it is asked for.
"""

from functools import partial

from l1jax import config
from l1jax.data.array_source import open_arrays
from l1jax.data.audio_source import open_audio
from l1jax.data.cache import cache_folder, with_cache
from l1jax.data.custom_source import open_custom
from l1jax.data.digits_source import open_digits
from l1jax.data.idx_source import open_idx, open_stacked
from l1jax.data.image_source import open_images
from l1jax.data.mixture_source import open_mixture
from l1jax.data.source import Source
from l1jax.data.splits import hold_out, skip_unusable
from l1jax.data.tfds_source import open_tfds
from l1jax.data.tones_source import open_tones


def open_source(data: config.Data, unpack: bool = True) -> Source:
    """Open the real images or points that a configuration names.

    The same images have the same order and the same fingerprint wherever they lie: a folder, its
    tar and its zip are one data set.

    Args:
        data: where they come from.
        unpack: whether to unpack a compressed tar once into the cache folder, and not into memory;
            a Parquet file needs it.

    Raises:
        InputError: if they cannot be opened. `Source.example` raises it for an image that cannot
            be used.
    """
    return _open(data, unpack)._replace(reopen=partial(open_source, data, unpack))


def _open(data: config.Data, unpack: bool) -> Source:
    folder = cache_folder() if unpack else None
    match data:
        case config.DigitsData():
            return open_digits(data)
        case config.ImageData():
            return open_images(data, folder)
        case config.ArrayData():
            return open_arrays(data)
        case config.IdxData():
            return open_idx(data)
        case config.StackedData():
            return open_stacked(data)
        case config.MixtureData():
            return open_mixture(data)
        case config.TfdsData():
            return open_tfds(data)
        case config.AudioData():
            return open_audio(data, folder)
        case config.TonesData():
            return open_tones(data)
        case config.CustomData():
            return open_custom(data)
        case config.TopicsData() | config.TextData():
            raise config.InputError(
                f"`data` (={type(data).__name__}) is text, which "
                "l1jax.data.text_source.open_text opens; give images, sounds or points here."
            )


def open_examples(
    data: config.Data, holdout: float = 0.0, cache: bool = True
) -> tuple[Source, Source | None]:
    """Open the training examples and the held-out examples of an experiment.

    Args:
        data: where the examples come from.
        holdout: share of the examples to hold out, in [0, 1). A hash of each example decides.
        cache: whether to keep decoded images and unpacked archives in the cache folder.

    Returns:
        The training examples, and the held-out ones or None if `holdout` is 0.

    Raises:
        InputError: if the examples cannot be opened, or `holdout` leaves one side empty.
    """
    source = open_source(data, unpack=cache)
    if cache:
        source = with_cache(source, cache_folder())
    if (
        isinstance(data, config.ImageData | config.TfdsData | config.AudioData)
        and data.on_error == "skip"
    ):
        source = skip_unusable(source)
    if not holdout:
        return source, None
    return hold_out(source, holdout)
