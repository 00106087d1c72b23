"""The examples of an experiment: opened, cached, without those that cannot be used, and split."""

from l1jax import config
from l1jax.data.cache import cache_folder, cached
from l1jax.data.source import Source
from l1jax.data.sources import open_source
from l1jax.data.splits import hold_out, skip_unusable


def open_examples(
    data: config.Data, holdout: float = 0.0, cache: bool = True
) -> tuple[Source, Source | None]:
    """The examples to train on and those held out to judge by; None of the latter if `holdout` is 0.

    Args:
        data: where they come from.
        holdout: share of the examples that is held out, chosen by a hash of each.
        cache: whether decoded images are kept in the cache folder.

    Raises:
        InputError: if they cannot be opened, or `holdout` leaves one side empty.
    """
    source = open_source(data)
    if cache:
        source = cached(source, cache_folder())
    if getattr(data, "on_error", "stop") == "skip":
        source = skip_unusable(source)
    return hold_out(source, holdout) if holdout else (source, None)
