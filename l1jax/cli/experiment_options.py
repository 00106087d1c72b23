"""The flags of commands that take an experiment; light, so that --help answers at once."""

from dataclasses import dataclass, fields
from typing import Annotated, Literal

import tyro

from l1jax.config import Config, InputError, kinds
from l1jax.config.choices import Criterion, PathMode, ScoredFeatures, WarmOrder
from l1jax.processes.launchers import ProcessOptions

OF_STRENGTHS = (  # flags of `SelectOptions` that only strengths have
    "strengths",
    "rule",
    "zeros",
    "worse",
    "precision",
    "how",
    "order",
    "halvings",
    "dense",
    "network",
    "debias_steps",
)


@dataclass(frozen=True)
class ExperimentOptions:
    """The flags of a command that takes an experiment; see `parse_experiment`."""

    experiment: Annotated[Config, tyro.conf.arg(name="")]
    config: str
    """Experiment: a Python file with get_config(), or the name of one here; else that of --from."""
    workdir: str
    """Folder for all that the command writes; an existing run of this experiment is resumed."""
    data: Literal[tuple(kinds("data"))]  # type: ignore[valid-type]
    """Kind of data, or your own as package.module:function; it decides the --data.… flags."""
    model: Literal[tuple(kinds("model"))]  # type: ignore[valid-type]
    """Kind of model, or your own as package.module:function; it decides the --model.… flags."""
    objective: Literal[tuple(kinds("objective"))]  # type: ignore[valid-type]
    """Kind of objective; it decides which --objective.… flags there are."""


@dataclass(frozen=True)
class StartingOptions:
    """The flags of a command that can begin from trained networks."""

    from_source: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Begin from trained networks: a work directory, a model folder, or owner/name on the Hub."""
    from_step: int | None = None
    """Which checkpoint of a run to begin from; by default as for sampling."""
    from_revision: str | None = None
    """Branch, tag or commit of a model on the Hub; by default its main branch."""
    from_networks: Literal["all", "generator"] = "all"
    """All networks that the source has, or its generator alone beside a new discriminator."""


@dataclass(frozen=True)
class TrainOptions(StartingOptions, ProcessOptions, ExperimentOptions):
    """Train an experiment."""

    resume: bool = True
    """Resume from the newest checkpoint; --no-resume needs an empty directory, or --overwrite."""
    overwrite: bool = False
    """Delete the run in the work directory and start over."""
    summary: bool = False
    """Print the networks' layers, shapes, parameters and FLOPs, and stop."""
    try_small: Annotated[bool, tyro.conf.arg(name="try")] = False
    """Train a small version for a few minutes, in WORKDIR-try, to see that all works."""
    wandb: str | None = None
    """Project, or entity/project, of Weights & Biases to log to as well; needs the extra wandb."""


@dataclass(frozen=True)
class SelectOptions(StartingOptions, ProcessOptions, ExperimentOptions):
    """Train an experiment at several strengths of its penalty, choose one, and refit it.

    At the end it names the command that makes an HTML page of the path.
    """

    grid: tuple[str, ...] = ()
    """FIELD VALUE …: choose that number instead, as objective.gamma 0.05 0.2."""
    strengths: str = "auto:8"
    """low:high:count, or a,b,c, or auto:count, which spans 10 % to 99 % zeros."""
    criterion: Criterion = "default"
    """What to choose by; by default a bound, a kernel distance, of text bits per byte."""
    rule: Literal["one-standard-error", "minimum"] = "one-standard-error"
    """The strongest within one standard error of the best (which needs folds), or the best."""
    zeros: float = 0.0
    """Instead of a rule: choose the weakest strength with this share of zeros, such as 0.9."""
    worse: float = 0.0
    """Instead of a rule: choose the strongest at most this share worse than without penalty."""
    precision: float = 1.2
    """With --zeros or --worse: refine around the target until neighbours have this ratio."""
    folds: int = 3
    """Parts of the data, each held out in turn; 1: score by what --holdout holds out."""
    path_steps: int = 0
    """Steps of each run on the path; 0 for the experiment's own."""
    how: PathMode = "together"
    """All in one program; one after another; or each from where the one before it ended."""
    order: WarmOrder = "dense-to-sparse"
    """Which way a warm path goes."""
    halvings: int = 0
    """How often the worse half of the strengths is stopped early, with --how together."""
    dense: bool = True
    """Train without the penalty too, to compare with."""
    network: Literal["generator", "discriminator", "encoder"] = "generator"
    """The network whose strength is chosen; a VAE's decoder is its generator."""
    features: ScoredFeatures = "pixels"
    """What distances between images are computed on; random: fixed random convolutions."""
    refit: bool = True
    """Train with the chosen strength on all data, into the folder refit-STRENGTH."""
    debias_steps: int = 0
    """Further steps of the refitted run in which the penalty is off and zeros stay zero."""
    overwrite: bool = False
    """Delete the path in the work directory and start over."""


def refuse_flags_of_strengths(options: SelectOptions) -> None:
    """Refuse flags beside --grid that only the choice of a strength has.

    Raises:
        InputError: naming the first of them.
    """
    for field in fields(SelectOptions):
        value = getattr(options, field.name)
        if field.name in OF_STRENGTHS and value != field.default:
            flag = field.name.replace("_", "-")
            raise InputError(
                f"`--{flag}` (={value}) must be left out with --grid, because it is about the "
                "strengths of a penalty; the experiment's own strength stays."
            )
