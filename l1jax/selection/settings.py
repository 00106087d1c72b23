"""Record in `selection.json` what is selected, and refuse a work directory with another path."""

import shutil
from pathlib import Path

from l1jax.config import Config, InputError, from_json, to_json
from l1jax.files import write_json
from l1jax.reading import UnreadableFileError, read_json
from l1jax.selection.plan import Plan
from l1jax.selection.score_table import INFORMATION_CRITERIA
from l1jax.training.origin import ORIGIN_FILE
from l1jax.training.workdir import refuse_other_experiment

FILE = "selection.json"
WRITTEN = (
    FILE,
    ORIGIN_FILE,
    "path",
    "path.json",
    "path.png",
    "samples.png",
    "samples.txt",
)  # by a selection


def path_settings(plan: Plan) -> dict[str, object]:
    """Return what determines how the path of a plan is trained, as `selection.json` holds it."""
    settings: dict[str, object] = {
        "network": plan.network,
        "strengths": plan.strengths,
        "folds": plan.folds,
        "steps": plan.steps,
        "how": plan.how,
        "sparse_first": plan.order == "sparse-to-dense",
        "halvings": plan.halvings,
        "dense": plan.dense,
        "features": plan.features,
        "criterion": None,
        "log_every": None,
        "information": plan.rule.criterion in INFORMATION_CRITERIA,
    }
    settings["grid"] = None
    if plan.grid is not None:
        settings["grid"] = [plan.grid.field, *plan.grid.values]
    settings["patience"] = None
    settings["checkpoint_every"] = None
    if plan.experiment.patience:  # which looks at the criterion at every checkpoint
        settings["patience"] = plan.experiment.patience
        settings["checkpoint_every"] = plan.experiment.checkpoint_every
        settings["criterion"] = plan.rule.criterion
    if plan.halvings:  # which depend on the criterion, and are rounded to `log_every`
        settings["criterion"] = plan.rule.criterion
        settings["log_every"] = plan.experiment.log_every
    return settings


def record_settings(workdir: Path, plan: Plan, *, overwrite: bool) -> None:
    """Write `selection.json`, and refuse to resume another path.

    Args:
        workdir: the work directory of the selection.
        plan: what is selected, and how.
        overwrite: whether a path that is already there is deleted first.

    Raises:
        InputError: naming what differs.
    """
    if overwrite:
        delete_path(workdir)
    if (workdir / "config.json").exists():
        raise InputError(f"`--workdir` (={workdir}) must not be a training run's: give another.")
    settings = path_settings(plan)
    if (workdir / FILE).exists():
        experiment, recorded = _read_settings(workdir / FILE)
        refuse_other_experiment(experiment, plan.experiment, workdir)
        _refuse_other_settings(recorded, settings, plan, workdir)
    write_json(workdir / FILE, {"experiment": to_json(plan.experiment), "selection": settings})


def delete_path(workdir: Path) -> None:
    """Delete everything that a selection writes, refitted runs included."""
    for path in (*(workdir / name for name in WRITTEN), *workdir.glob("refit-*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def read_selected_experiment(workdir: Path) -> Config:
    """Return the experiment of a selection.

    Raises:
        InputError: if it cannot be read.
    """
    return _read_settings(workdir / FILE)[0]


def _read_settings(path: Path) -> tuple[Config, dict[str, object]]:
    try:
        recorded = read_json(path, remedy="give another --workdir, or --overwrite")
        return from_json(recorded["experiment"]), dict(recorded["selection"])
    except UnreadableFileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): give another --workdir, or --overwrite."
        ) from error


def _refuse_other_settings(
    recorded: dict[str, object], settings: dict[str, object], plan: Plan, workdir: Path
) -> None:
    if recorded.get("information") != settings["information"]:
        raise InputError(
            f"`--criterion` (={plan.rule.criterion}) needs runs that {workdir} does not have: "
            "information criteria score runs on all data, and the other criteria score runs on "
            "folds, by what each leaves out. Give another --workdir, or --overwrite to "
            "delete that path and start over."
        )
    changed = [
        f"{name} was {recorded.get(name)}"
        for name, value in settings.items()
        if recorded.get(name) != value
    ]
    if changed:
        raise InputError(
            f"{workdir} belongs to another path ({'; '.join(changed)}): give another --workdir, "
            "the same settings, or --overwrite to delete that path and start over."
        )
