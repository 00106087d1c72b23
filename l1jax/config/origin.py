"""Where the networks of a run come from, if it does not draw them."""

from dataclasses import dataclass, field

from l1jax.config.fields import bounds


@dataclass(frozen=True)
class Origin:
    """The trained networks that a run began from; `--from` of a command sets it."""

    source: str = ""
    """Absolute path of a work directory or a model folder, or owner/name on the Hub."""
    revision: str = ""
    """The Hub's commit; empty for a path."""
    step: int = field(default=0, metadata=bounds(0))
    """Step of the training that the weights are of."""
    networks: tuple[str, ...] = ()
    """The networks that were taken: generator, and discriminator or encoder."""
    fingerprint: str = ""
    """SHA-256 of the names, shapes and values of all weights that were taken."""
