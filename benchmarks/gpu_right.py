"""Is it right? Convolutions, a step of every experiment, zeros, transformations, mappings, and a run that resumes."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from gpu_record import Record, within
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import l1jax
from l1jax.build import image_shape
from l1jax.command_line import experiments_folder, load_experiment
from l1jax.config import Config
from l1jax.data.batches import Batch, resident_feed
from l1jax.models.gan import AXIS
from l1jax.models.layers import convolve, convolve_transposed, library_convolutions
from l1jax.training.compilation import QUICK
from l1jax.training.parallel import make_runner
from l1jax.training.state import NetworkState, Task
from l1jax.training.task import make_task, stream

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the one list of all transformations

LIMITS = {"float32": 1e-5, "bfloat16": 2e-2}
COMPILERS = 16  # programs that are compiled at once
MARGIN = 5.0  # seconds before the limit, at which what is not finished is left
BATCH = 4
STARTS = 3
SMOKE_EXPERIMENTS = ("mnist",)
# The fields that say how wide a network is, and what is taken for a width of 0, the model's own choice.
WIDTHS = {
    "channels": 0,
    "generator_width": 64,
    "discriminator_width": 64,
    "generator_hidden": (),
    "discriminator_hidden": (),
    "discriminator_channels": (),
    "hidden": (),
}


def measure(record: Record, options: argparse.Namespace) -> None:
    """Check everything, what is quick first; the run that is killed goes on beside the rest."""
    with ThreadPoolExecutor(1) as beside:
        resumed = beside.submit(resume_after_kill, record.smoke)
        record.attempt("exact zeros after 200 proximal steps", exact_zeros)
        record.attempt("pmap against shard_map", partial(mappings, record.smoke))
        record.attempt("convolutions", partial(convolutions, record.smoke))
        record.attempt("transformations", partial(transformations, record.smoke))
        each_experiment(record)
        record.attempt("killed and resumed", partial(resumed.result, max(record.seconds_left() - MARGIN, 0)))


# Convolutions, against sums in NumPy and float64.


class Layer(NamedTuple):
    """A convolution with SAME padding, and the image that it is tried on."""

    kernel: int
    stride: int
    side: int
    inputs: int
    outputs: int


LAYERS = [
    Layer(1, 1, 8, 64, 33),
    Layer(3, 1, 9, 48, 64),
    Layer(4, 2, 64, 3, 64),
    Layer(4, 2, 16, 64, 96),
    Layer(5, 2, 14, 32, 48),
    Layer(5, 2, 7, 33, 16),
    Layer(3, 2, 16, 16, 32),
    Layer(3, 4, 16, 8, 8),
]


def convolutions(smoke: bool) -> dict[str, Any]:
    """The largest error of outputs, both gradients and second derivatives, relative to the largest entry."""
    layers = [Layer(4, 2, 8, 3, 4)] if smoke else LAYERS
    jobs = [
        (layer, transposed, dtype, precision)
        for layer in layers
        for transposed in (False, True)
        for dtype, precision in (("float32", "highest"), ("float32", "default"), ("bfloat16", "default"))
    ]
    with ThreadPoolExecutor(COMPILERS) as pool:
        errors = list(pool.map(lambda job: convolution_error(*job), jobs))
    found: dict[str, Any] = {}
    for (layer, transposed, dtype, precision), error in zip(jobs, errors, strict=True):
        kind = "transposed " if transposed else ""
        name = f"{kind}{layer.kernel}×{layer.kernel}/{layer.stride}, {layer.inputs} → {layer.outputs}"
        exact = precision == "highest" or dtype == "bfloat16"
        label = dtype if exact else f"{dtype}, precision default"
        # TensorFloat-32 has bfloat16's digits in its products: its error is shown, within bfloat16's limit.
        limit = LIMITS[dtype] if exact else LIMITS["bfloat16"]
        found.setdefault(label, {})[name] = within(error, limit)
    return found


def compile_for(device: jax.Device, function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit`, on a CPU without optimisation: it takes longer there than the few calls of a check."""
    return jax.jit(function, compiler_options=QUICK if device.platform == "cpu" else None, **options)


def convolution_error(layer: Layer, transposed: bool, dtype: str, precision: str) -> float:
    """Compare the device's results with those of `exact_convolution`."""
    rng = np.random.default_rng(0)
    side = -(-layer.side // layer.stride)
    small = (4, side, side)
    large = (4, side * layer.stride, side * layer.stride) if transposed else (4, layer.side, layer.side)
    inputs, outputs = (small, large) if transposed else (large, small)
    shapes = (
        (*inputs, layer.inputs),
        (layer.kernel, layer.kernel, layer.inputs, layer.outputs),
        (*outputs, layer.outputs),
    )
    arrays = [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]
    with jax.default_matmul_precision(precision):
        results = compile_for(jax.devices()[0], partial(convolution_results, transposed, layer.stride))
        found = results(*arrays)
    wide = [np.asarray(array.astype(jnp.float32), np.float64) for array in arrays]
    expected = exact_convolution(transposed, layer.stride, *wide)
    pairs = zip(map(np.asarray, found), expected, strict=True)
    return max(float(np.abs(a.astype(np.float64) - b).max() / np.abs(b).max()) for a, b in pairs)


def convolution_results(
    transposed: bool, stride: int, x: jax.Array, kernel: jax.Array, weights: jax.Array
) -> tuple[jax.Array, ...]:
    """y, the gradients of Σ weights·y, and those of half the squared gradient with respect to x, as R1 takes them."""
    function = partial(convolve_transposed if transposed else convolve, stride=stride)

    def half_squared_gradient(kernel: jax.Array, weights: jax.Array) -> jax.Array:
        gradient = jax.vjp(lambda x: function(x, kernel), x)[1](weights)[0]
        return jnp.sum(jnp.square(gradient.astype(jnp.float32))) / 2

    y, pullback = jax.vjp(function, x, kernel)
    return y, *pullback(weights), *jax.grad(half_squared_gradient, (0, 1))(kernel, weights)


def exact_convolution(
    transposed: bool, stride: int, x: np.ndarray, kernel: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The same in NumPy: with C(x, k) the convolution, which is linear in both, its adjoints are all that is needed."""
    size = len(kernel)
    if not transposed:
        gradient = to_image(weights, kernel, stride, x.shape[1])
        return (
            to_outputs(x, kernel, stride),
            gradient,
            to_kernel(x, weights, size, stride),
            to_kernel(gradient, weights, size, stride),
            to_outputs(gradient, kernel, stride),
        )
    # A transposed convolution is the adjoint, with respect to its image, of a convolution with the mirrored kernel.
    mirrored = mirror(kernel)
    gradient = to_outputs(weights, mirrored, stride)
    return (
        to_image(x, mirrored, stride, weights.shape[1]),
        gradient,
        mirror(to_kernel(weights, x, size, stride)),
        mirror(to_kernel(weights, gradient, size, stride)),
        to_image(gradient, mirrored, stride, weights.shape[1]),
    )


def mirror(kernel: np.ndarray) -> np.ndarray:
    """Flipped in both directions, inputs and outputs exchanged."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def taps(side: int, size: int, stride: int) -> tuple[tuple[int, int], Iterator[tuple[int, int, tuple[slice, ...]]]]:
    """The SAME padding of a side, and each tap with the pixels of the padded image that it meets."""
    outputs = -(-side // stride)
    padding = max((outputs - 1) * stride + size - side, 0)
    reach = (outputs - 1) * stride + 1

    def each() -> Iterator[tuple[int, int, tuple[slice, ...]]]:
        for i, j in np.ndindex(size, size):
            yield i, j, (slice(None), slice(i, i + reach, stride), slice(j, j + reach, stride))

    return (padding // 2, padding - padding // 2), each()


def padded(x: np.ndarray, pads: tuple[int, int]) -> np.ndarray:
    return np.pad(x, ((0, 0), pads, pads, (0, 0)))


def to_outputs(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """C(x, kernel)."""
    pads, each = taps(x.shape[1], len(kernel), stride)
    wide = padded(x, pads)
    return sum(wide[pixels] @ kernel[i, j] for i, j, pixels in each)


def to_image(y: np.ndarray, kernel: np.ndarray, stride: int, side: int) -> np.ndarray:
    """The adjoint of C with respect to its image."""
    pads, each = taps(side, len(kernel), stride)
    wide = padded(np.zeros((len(y), side, side, kernel.shape[2])), pads)
    for i, j, pixels in each:
        wide[pixels] += y @ kernel[i, j].T
    return wide[:, pads[0] : pads[0] + side, pads[0] : pads[0] + side]


def to_kernel(x: np.ndarray, y: np.ndarray, size: int, stride: int) -> np.ndarray:
    """The adjoint of C with respect to its kernel."""
    pads, each = taps(x.shape[1], size, stride)
    wide = padded(x, pads)
    kernel = np.zeros((size, size, x.shape[-1], y.shape[-1]))
    for i, j, pixels in each:
        kernel[i, j] = np.einsum("bhwc,bhwd->cd", wide[pixels], y, optimize=True)
    return kernel


# A training step of every experiment, against the CPU.


def each_experiment(record: Record) -> None:
    """Keep the errors of one step of every experiment, as they are found, until the time is over."""
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
    """One step from the same state, on the device and on the CPU, in each precision that the model has.

    Compared are the first moments of each optimiser, which are the gradients times a constant, the batch statistics
    and the metrics; not the parameters, which Adam's first step moves by the gradient's sign alone.

    Rounding puts a unit now and then on the other side of its ReLU's kink, which changes a gradient by 1e-3; a wrong
    program is wrong from every start. So in float32 the best of several starts counts, beside the best that the CPU
    itself reaches when the last bit of its parameters changes. In bfloat16 units always change sides: there the device
    may be as far from the CPU's float32 as the CPU's bfloat16 is.
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


def beside_rounding(found: dict[str, float], rounding: dict[str, float], limit: float) -> dict[str, dict[str, Any]]:
    """Each error within the limit, or within three times what rounding alone makes of it on the CPU."""
    return {part: within(error, max(limit, 3 * rounding[part])) for part, error in found.items()}


def errors(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """The relative error of each part."""
    return {part: relative_error(found[part], expected[part]) for part in expected}


def shrunk(experiment: Config, smoke: bool) -> Config:
    """Small batches and networks a quarter as wide, for the CPU's sake: layers, strides and losses stay what they are.

    With an `eps` of 1 Adam moves by the gradient's size and not by its sign alone, which rounding may turn: the
    generator's gradient is taken after the discriminator's update.
    """
    divisor = 16 if smoke else 4
    widths = {name: value for name, value in vars(experiment.model).items() if name in WIDTHS}
    narrow = {name: divided(value or WIDTHS[name], divisor) for name, value in widths.items()}
    smooth = {
        name: replace(getattr(experiment, name), eps=1.0)
        for name in ("generator", "discriminator", "encoder")
        if getattr(experiment, name) is not None
    }
    return replace(experiment, batch_size=BATCH, model=replace(experiment.model, **narrow), **smooth)


def divided(width: Any, divisor: int) -> Any:
    """A width, or each of several."""
    if isinstance(width, tuple):
        return tuple(divided(each, divisor) for each in width)
    return max(width // divisor, 1)


class Step:
    """An experiment's step, compiled for one device: seed → what it makes of the state that the seed draws.

    As a reference it has XLA's own convolutions, so that ours are compared with others.
    """

    def __init__(self, experiment: Config, device: jax.Device, reference: bool = False):
        self.experiment = experiment
        self.convolutions = library_convolutions if reference else contextlib.nullcontext
        self.task = make_task(experiment, image_shape(experiment.data))
        mesh = Mesh(np.asarray([device]), (AXIS,))
        self.on_device = NamedSharding(mesh, P())
        mapped = jax.shard_map(self.task.step, mesh=mesh, in_specs=(P(), P(None, AXIS), P()), out_specs=P())
        self.program = compile_for(device, mapped)

    def __call__(self, seed: int, last_bit: bool = False) -> dict[str, Any]:
        """Gradients, batch statistics and losses; from a state with other last bits if that is asked."""
        state = first_state(self.task, seed)
        if last_bit:
            state = jax.tree.map(lambda x: np.nextafter(x, 2 * x) if x.dtype == np.float32 else x, state)
        batch = random_batch(self.task, self.experiment, seed)
        arguments = jax.device_put((state, batch, stream(seed, "training")), self.on_device)
        with jax.default_matmul_precision("highest"), self.convolutions():
            state, metrics = self.program(*arguments)
        networks = {name: own for name, own in state._asdict().items() if isinstance(own, NetworkState)}
        parts: dict[str, Any] = {f"{name} gradients": first_moments(own.opt_state) for name, own in networks.items()}
        parts |= {f"{name} statistics": own.statistics for name, own in networks.items() if own.statistics}
        losses = {name: value for name, value in metrics.items() if name.endswith("/loss")}
        return jax.device_get({**parts, "losses": losses})


def first_moments(opt_state: optax.OptState) -> Any:
    """Of Adam, wherever it stands in the state."""
    return optax.tree_utils.tree_get(opt_state, "mu")


def first_state(task: Task, seed: int) -> Any:
    """The networks as training draws them, drawn on the CPU."""
    with jax.default_device(jax.devices("cpu")[0]):
        return jax.device_get(jax.jit(task.init, compiler_options=QUICK)(stream(seed, "parameters")))


def random_batch(task: Task, experiment: Config, seed: int) -> Batch:
    """Random images, or points."""
    rng = np.random.default_rng(seed)
    shape = (task.draws, experiment.batch_size, *image_shape(experiment.data))
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

    found, expected = (jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree) for tree in (found, expected))
    return norm(jax.tree.map(np.subtract, found, expected)) / max(norm(expected), 1e-300)


# Zeros, transformations, mappings.


def exact_zeros() -> dict[str, Any]:
    """200 steps of proximal Adam on ½‖x − z‖² + penalty, whose minimum is known: which entries are exactly zero.

    Entries of z keep a distance from the threshold, so that 200 steps decide each of them.
    """
    rng = np.random.default_rng(0)
    sizes = np.concatenate([rng.uniform(0.0, 0.6, (300, 32)), rng.uniform(1.5, 3.0, (212, 32))])
    z = (rng.permutation(sizes) * rng.choice([-1, 1], sizes.shape)).astype(np.float32)
    rows = np.sqrt(np.square(z).sum(1, keepdims=True)) / np.sqrt(z.shape[1])
    small_rows = np.broadcast_to(rows < 0.8, z.shape)
    penalties = {
        "l1": (l1jax.l1(1.0), np.abs(z) < 1),
        "elastic_net": (l1jax.elastic_net(1.0, 0.5), np.abs(z) < 1),
        "nonnegative_l1": (l1jax.nonnegative_l1(1.0), z < 1),
        "group_l1": (l1jax.group_l1(1.0, axis=1), small_rows),
    }
    return {name: zeros_of(penalty, z, zero) for name, (penalty, zero) in penalties.items()}


def zeros_of(penalty: Any, z: np.ndarray, zero: np.ndarray) -> dict[str, Any]:
    """Compare the zeros with those of the minimum."""
    tx = l1jax.proximal_adam(0.05, penalty)
    target = jnp.asarray(z)

    @jax.jit
    def train(params: jax.Array) -> jax.Array:
        def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
            params, state = carry
            updates, state = tx.update(params - target, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=200)[0][0]

    found = np.asarray(train(target))
    right = bool(np.array_equal(found == 0, zero) and not np.any(np.signbit(found[found == 0])))
    return {"zeros": float(np.mean(found == 0)), "expected": float(np.mean(zero)), "passed": right}


def transformations(smoke: bool) -> dict[str, Any]:
    """Two steps of every transformation, on the device and on the CPU: types kept, compiled once, equal, same zeros."""
    from transformations import CASES

    names = list(CASES)[:: 9 if smoke else 1]
    jobs = [(name, dtype) for name in names for dtype in LIMITS]
    with ThreadPoolExecutor(COMPILERS) as pool:
        found = list(pool.map(lambda job: transformation(*job), jobs))
    return {f"{name}, {dtype}": result for (name, dtype), result in zip(jobs, found, strict=True)}


def transformation(name: str, dtype: str) -> dict[str, Any]:
    """One of them."""
    from transformations import CASES, tree

    def run(device: jax.Device) -> tuple[Any, int]:
        with jax.default_device(device):
            tx = CASES[name].make()
            params = tree(0, dtype)
            state = tx.init(params)
            update = compile_for(device, partial(_applied, tx), donate_argnums=(1, 2))
            for seed in (1, 2):
                params, state = update(tree(seed, dtype), state, params)
            return jax.device_get(params), update._cache_size()

    (found, compiled), (expected, _) = run(jax.devices()[0]), run(jax.devices("cpu")[0])
    same_types = jax.tree.map(lambda a: str(a.dtype), found) == jax.tree.map(lambda a: dtype, expected)
    wide = [jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree) for tree in (found, expected)]
    same_zeros = all(jax.tree.leaves(jax.tree.map(lambda a, b: np.array_equal(a == 0, b == 0), *wide)))
    result = within(relative_error(*wide), LIMITS[dtype])
    passed = result["passed"] and same_types and same_zeros and compiled == 1
    return result | {"types_kept": same_types, "same_zeros": same_zeros, "compiled": compiled, "passed": passed}


def _applied(tx: optax.GradientTransformation, grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state


def mappings(smoke: bool) -> dict[str, Any]:
    """Five steps of the digits' GAN under `pmap` and under `jit(shard_map)`."""
    experiment = load_experiment("digits")
    experiment = shrunk(experiment, smoke) if smoke else experiment
    shape = image_shape(experiment.data)
    task = make_task(experiment, shape)
    images = np.random.default_rng(0).integers(0, 256, (256, *shape), np.uint8)
    feed = resident_feed(images, 0, task.draws, experiment.batch_size)
    start = first_state(task, experiment.seed)

    def after_five(parallel: Any) -> Any:
        runner = make_runner(task, feed, jax.devices()[:1], parallel)
        state, resident = runner.replicate(start), runner.replicate(feed.resident)
        state, _ = runner.run(state, resident, feed.chunk(0, 5), stream(0, "training"))
        return jax.device_get(state)

    by_pmap, by_shard_map = after_five("pmap"), after_five("shard_map")
    equal = jax.tree.map(np.array_equal, by_pmap, by_shard_map)
    return within(relative_error(by_pmap, by_shard_map), 1e-6) | {"identical_bits": all(jax.tree.leaves(equal))}


# A run that is killed.


def resume_after_kill(smoke: bool) -> dict[str, Any]:
    """The default experiment once as a whole, and once killed after its second checkpoint and started again.

    The second run starts when the first one has compiled: it finds that program in the cache, as a run that is resumed
    on its machine does. Compiled anew, XLA may choose other kernels by their speed, whose sums round otherwise.
    """
    steps, every = (60, 20) if smoke else (1_000, 100)
    flags = ["--steps", str(steps)]
    flags += [part for name in ("log", "sample", "checkpoint") for part in (f"--{name}-every", str(every))]
    if smoke:
        flags += ["--model.generator-hidden", "32", "--model.discriminator-hidden", "32"]
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        uninterrupted = start_training(whole, flags)
        wait_for(lambda: uninterrupted.poll() is not None or bool(committed(whole)))
        victim = start_training(killed, flags)
        wait_for(lambda: victim.poll() is not None or len(committed(killed)) >= 2)
        before = committed(killed)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        check_exit(uninterrupted, whole)
        check_exit(start_training(killed, flags), killed)
        digests = [digest(workdir, steps) for workdir in (whole, killed)]
        interrupted = bool(before) and before[-1] < steps
        same = digests[0] == digests[1]
        return {
            "steps": steps,
            "killed_with_checkpoints": before,
            "same_bits": same,
            "passed": same and interrupted,
        }


def start_training(workdir: Path, flags: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "l1jax.train", "--workdir", str(workdir), *flags]
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with Path(f"{workdir}.log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def wait_for(happened: Callable[[], bool]) -> None:
    while not happened():
        time.sleep(0.01)


def committed(workdir: Path) -> list[int]:
    """Steps of the checkpoints that are whole."""
    return sorted(int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit())


def check_exit(process: subprocess.Popen, workdir: Path) -> None:
    if process.wait():
        raise RuntimeError(f"training ended with {process.returncode}: {Path(f'{workdir}.log').read_text()[-300:]!r}")


def digest(workdir: Path, step: int) -> str:
    """Of all leaves of a checkpoint's state."""
    return json.loads((workdir / "checkpoints" / str(step) / "meta" / "metadata").read_text())["digest"]
