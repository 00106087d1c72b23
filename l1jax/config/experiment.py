"""One experiment: data, model, objective, optimisers, and how long and how often."""

from dataclasses import dataclass, field
from typing import Literal

from l1jax.config.data import Data, DigitsData
from l1jax.config.fields import bounds
from l1jax.config.models import MlpGan, Model
from l1jax.config.objectives import Adversarial, Objective
from l1jax.config.optimization import Optimizer, Ramp
from l1jax.config.origin import Origin


@dataclass(frozen=True)
class Config:
    """One experiment."""

    data: Data = DigitsData()
    """The real images, or text."""
    model: Model = MlpGan()
    """The networks."""
    objective: Objective = Adversarial()
    """What they minimise."""
    generator: Optimizer = Optimizer()
    """The generator's, or a VAE's decoder's, optimiser and penalty."""
    discriminator: Optimizer | None = Optimizer()
    """The discriminator's optimiser and penalty; None where there is no discriminator."""
    encoder: Optimizer | None = None
    """A VAE's encoder's optimiser and penalty; None where there is no encoder."""
    origin: Origin | None = None
    """The trained networks that the run begins from; None to draw them. --from sets it."""
    discriminator_steps_first: int = field(default=0, metadata=bounds(0, 2**31 - 1))
    """Steps at the start in which a GAN's discriminator alone learns; its generator waits."""
    seed: int = field(default=0, metadata=bounds(0, 2**32, open_maximum=True))
    """Seed of everything random; the same seed gives the same run."""
    steps: int = field(default=10_000, metadata=bounds(1, 2**31 - 1))
    """Generator steps in all, those before a resume included."""
    batch_size: int = field(default=64, metadata=bounds(1))
    """Images, or windows of text, per step over all devices."""
    accumulate: int = field(default=1, metadata=bounds(1))
    """Parts of a batch, one after the other: less memory, the same update but for batch norm."""
    flip: bool = False
    """Mirror real images left and right, each with probability ½, anew in every step."""
    ema_half_life: float = field(default=44_340.0, metadata=bounds(0))
    """Half-life, in images or windows, of the average that draws samples; 0 for no average."""
    ema_ramp: Ramp = Ramp()
    """How that half-life changes over the steps; R3GAN's begins at 0."""
    rollbacks: int = field(default=10, metadata=bounds(0, 100))
    """How often training that is not finite may restart from a checkpoint at half the rate."""
    log_every: int = field(default=100, metadata=bounds(1))
    """Steps between lines of metrics, in one compiled call; best a divisor of other intervals."""
    sample_every: int = field(default=1_000, metadata=bounds(1))
    """Steps between samples."""
    checkpoint_every: int = field(default=1_000, metadata=bounds(1))
    """Steps between checkpoints."""
    evaluate_every: int = field(default=0, metadata=bounds(0))
    """Steps between evaluations, which choose the best checkpoint; 0 for none."""
    patience: int = field(default=0, metadata=bounds(0, 2**31 - 1))
    """Scores in a row without a better one at which training stops; 0 trains all `steps`."""
    best_by: Literal[
        "default",
        "kernel_distance",
        "frechet_distance",
        "precision",
        "recall",
        "coverage",
        "bits_per_byte",
        "bound",
    ] = "default"
    """Score that chooses the best checkpoint, and that `patience` watches; bound: a VAE's."""
    keep_checkpoints: int = field(default=3, metadata=bounds(1))
    """How many of the last checkpoints are kept, besides the best."""
    parallel: Literal["shard_map", "pmap"] = "shard_map"
    """How the step is mapped over devices; both train the same model."""
    holdout: float = field(default=0.0, metadata=bounds(0, 0.9))
    """Share of the examples, chosen by a hash of each, that training never sees."""
    resident_mib: int = field(default=2048, metadata=bounds(0))
    """Data up to this many MiB on each device stays there; more is streamed."""
    workers: int = field(default=0, metadata=bounds(0, 1024))
    """Processes that decode images while streaming; 0 for threads."""
    cache: bool = True
    """Keep decoded images for later runs, in L1JAX_CACHE_DIR or the user's cache folder."""


# Fields that may differ between a checkpoint and the run that resumes it: none of these changes a
# step. (The images that a path leads to, or that are left out, class folders among them, and the
# weights that a run begins from are compared by their fingerprint instead.)
FREE_FIELDS = frozenset(
    [
        "steps",
        "log_every",
        "sample_every",
        "checkpoint_every",
        "evaluate_every",
        "patience",
        "best_by",
        "keep_checkpoints",
        "rollbacks",
        "parallel",
        "resident_mib",
        "workers",
        "cache",
        "data.path",
        "data.data_dir",
        "data.labels",
        "data.on_error",
        "data.most_pixels",
        "data.most_seconds",
        "origin.source",
        "origin.revision",
    ]
)
