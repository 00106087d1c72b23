"""One training step of every experiment on the device against the same one on the CPU."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import optax
from gpu_record import LIMITS, MARGIN, Record, within
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from l1jax.build import image_shape
from l1jax.cli.experiment_file import experiments_folder, load_experiment
from l1jax.compilation import QUICK
from l1jax.config import Config
from l1jax.data.batches import Batch
from l1jax.models.layers import library_convolutions
from l1jax.models.network import AXIS
from l1jax.training.keys import named_seed_key
from l1jax.training.state import NetworkState, Task
from l1jax.training.task import make_task

COMPILERS = 16  # programs that are compiled at once
BATCH = 4
STARTS = 3
SMOKE_EXPERIMENTS = ("vae_digits",)
# The fields that say how wide a network is, and what is taken for a width of 0, the model's own
# choice.
WIDTHS = {
    "channels": 0,
    "generator_width": 64,
    "discriminator_width": 64,
    "generator_hidden": (),
    "discriminator_hidden": (),
    "discriminator_channels": (),
    "hidden": (),
}


def compile_for(device: jax.Device, function: Callable[..., Any], **options: Any) -> Any:
    """Call `jax.jit`, on a CPU without optimisation.

    Optimising takes longer there than the few calls of a check.
    """
    return jax.jit(
        function, compiler_options=QUICK if device.platform == "cpu" else None, **options
    )


def each_experiment(record: Record) -> None:
    """Record the errors of one step of every experiment until the time is over."""
    names = sorted(path.stem for path in experiments_folder().glob("*.py"))
    if record.smoke:
        names = [name for name in names if name in SMOKE_EXPERIMENTS]
    pool = ThreadPoolExecutor(COMPILERS)
    running = {pool.submit(step_errors, name, record.smoke): f"{name}, a step" for name in names}
    try:
        for future in as_completed(running, timeout=max(record.seconds_left() - MARGIN, 0)):
            record.attempt(running.pop(future), future.result)
    except TimeoutError:
        for name in running.values():
            record.keep(name, {"not_reached": "still compiling when the time was over"})
    pool.shutdown(wait=False, cancel_futures=True)


def step_errors(name: str, smoke: bool) -> dict[str, Any]:
    """Compare one step from the same state on the device and on the CPU.

    It is compared in each precision that the model has.

    Compared are the first moments of each optimiser, which are the gradients times a constant, the
    batch statistics and the metrics; not the parameters, which Adam's first step moves by the
    gradient's sign alone.

    Rounding puts a unit now and then on the other side of its ReLU's kink, which changes a gradient
    by 1e-3; a wrong program is wrong from every start. So in float32 the best of several starts
    counts, beside the best that the CPU itself reaches when the last bit of its parameters changes.
    In bfloat16 units always change sides: there the device may be as far from the CPU's float32 as
    the CPU's bfloat16 is.
    """
    experiment = shrunk(load_experiment(name), smoke)
    cpu, device = jax.devices("cpu")[0], jax.devices()[0]
    step_on_cpu, step_on_device = Step(experiment, cpu, reference=True), Step(experiment, device)
    of_device, of_last_bit = [], []
    for seed in range(1 if smoke else STARTS):
        expected = step_on_cpu(seed)
        of_device.append(errors(step_on_device(seed), expected))
        of_last_bit.append(errors(step_on_cpu(seed, last_bit=True), expected))
    found = {"float32": beside_rounding(least(of_device), least(of_last_bit), LIMITS["float32"])}
    if hasattr(experiment.model, "dtype"):
        half = replace(experiment, model=replace(experiment.model, dtype="bfloat16"))
        on_device = errors(Step(half, device)(seed), expected)
        on_cpu = errors(Step(half, cpu, reference=True)(seed), expected)
        found["bfloat16"] = beside_rounding(on_device, on_cpu, LIMITS["bfloat16"])
    return found


def least(attempts: list[dict[str, float]]) -> dict[str, float]:
    """The smallest error of each part."""
    return {part: min(found[part] for found in attempts) for part in attempts[0]}


def beside_rounding(
    found: dict[str, float], rounding: dict[str, float], limit: float
) -> dict[str, dict[str, Any]]:
    """Check each error against its limit.

    Three times the error that rounding alone causes on the CPU is allowed, too.
    """
    return {part: within(error, max(limit, 3 * rounding[part])) for part, error in found.items()}


def errors(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """The relative error of each part."""
    return {part: relative_error(found[part], expected[part]) for part in expected}


def shrunk(experiment: Config, smoke: bool) -> Config:
    """Shrink the batches, and the networks to a quarter of their width, for the CPU's sake.

    Layers, strides and losses stay what they are.

    With an `eps` of 1 Adam moves by the gradient's size and not by its sign alone, which rounding
    may turn: the generator's gradient is taken after the discriminator's update.
    """
    divisor = 16 if smoke else 4
    widths = {name: value for name, value in vars(experiment.model).items() if name in WIDTHS}
    narrow = {
        name: divided(WIDTHS[name] if value == 0 else value, divisor)
        for name, value in widths.items()
    }
    smooth = {
        name: replace(getattr(experiment, name), eps=1.0)
        for name in ("generator", "discriminator", "encoder")
        if getattr(experiment, name) is not None
    }
    return replace(
        experiment, batch_size=BATCH, model=replace(experiment.model, **narrow), **smooth
    )


def divided(width: Any, divisor: int) -> Any:
    """A width, or each of several."""
    if isinstance(width, tuple):
        return tuple(divided(each, divisor) for each in width)
    return max(width // divisor, 1)


class Step:
    """Compile an experiment's step for one device.

    Returned is a function from a seed to what the step makes of the state drawn from it.

    As a reference it has XLA's own convolutions, so that ours are compared with others.
    """

    def __init__(self, experiment: Config, device: jax.Device, reference: bool = False):
        self.experiment = experiment
        self.convolutions = library_convolutions if reference else contextlib.nullcontext
        self.task = make_task(experiment, image_shape(experiment.data))
        mesh = Mesh(np.asarray([device]), (AXIS,))
        self.on_device = NamedSharding(mesh, P())
        mapped = jax.shard_map(
            self.task.step, mesh=mesh, in_specs=(P(), P(None, AXIS), P()), out_specs=P()
        )
        self.program = compile_for(device, mapped)

    def __call__(self, seed: int, last_bit: bool = False) -> dict[str, Any]:
        """Return gradients, batch statistics and losses.

        On request the state has other last bits.
        """
        state = first_state(self.task, seed)
        if last_bit:
            state = jax.tree.map(
                lambda x: np.nextafter(x, 2 * x) if x.dtype == np.float32 else x, state
            )
        batch = random_batch(self.task, self.experiment, seed)
        arguments = jax.device_put((state, batch, named_seed_key(seed, "training")), self.on_device)
        with jax.default_matmul_precision("highest"), self.convolutions():
            state, metrics = self.program(*arguments)
        networks = {
            name: own for name, own in state._asdict().items() if isinstance(own, NetworkState)
        }
        parts: dict[str, Any] = {
            f"{name} gradients": first_moments(own.opt_state) for name, own in networks.items()
        }
        parts |= {
            f"{name} statistics": own.batch_stats
            for name, own in networks.items()
            if own.batch_stats
        }
        losses = {name: value for name, value in metrics.items() if name.endswith("/loss")}
        return jax.device_get({**parts, "losses": losses})


def first_moments(opt_state: optax.OptState) -> Any:
    """Of Adam, wherever it stands in the state."""
    return optax.tree_utils.tree_get(opt_state, "mu")


def first_state(task: Task, seed: int) -> Any:
    """The networks as training draws them, drawn on the CPU."""
    with jax.default_device(jax.devices("cpu")[0]):
        return jax.device_get(
            jax.jit(task.init, compiler_options=QUICK)(named_seed_key(seed, "parameters"))
        )


def random_batch(task: Task, experiment: Config, seed: int) -> Batch:
    """Random images, or points."""
    rng = np.random.default_rng(seed)
    shape = (task.batches_per_step, experiment.batch_size, *image_shape(experiment.data))
    if task.generator.image_range is None:
        image = rng.normal(size=shape).astype(np.float32)
    else:
        image = rng.integers(0, 256, shape, np.uint8)
    label = rng.integers(0, max(task.generator.classes, 1), shape[:2], np.int32)
    return Batch(image, np.arange(np.prod(shape[:2]), dtype=np.int32).reshape(shape[:2]), label)


def relative_error(found: Any, expected: Any) -> float:
    """Norm of the difference of two trees over that of the second."""

    def norm(tree: Any) -> float:
        return float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree))))

    found, expected = (
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree) for tree in (found, expected)
    )
    return norm(jax.tree.map(np.subtract, found, expected)) / max(norm(expected), 1e-300)
