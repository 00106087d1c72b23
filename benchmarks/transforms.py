"""What each transformation costs per step, relative to the plain optimiser that it extends.

Run:  python benchmarks/transforms.py [--tree dcgan64|dense100m] [--pairs 30] [--output FILE]
      python benchmarks/transforms.py --smoke   # every row once on a tiny tree, nothing kept

Timed is update + `apply_updates`, jitted, parameters and state donated, alternating with the row's
plain optimiser (`optax.adam` where a row names no other) on the same gradients. Trees: the
generator of `l1jax.models.dcgan((64, 64, 3))`, and 100 million parameters in dense layers. Channels
are scaled by 10^U(-3, 0), so that groups at every distance from zero are among them, and four draws
of gradients take turns. Peers: jaxopt's prox operators after `optax.adam`, and PyTorch's Adam with
a loop of softshrink; a peer that is not installed is named as missing. For DCGAN-64 also whole GAN
training steps, batch 64, against those of Adam alone.

"Leaf by leaf" is the same program compiled with XLA:CPU's other scheduler. The default one lets the
scratch of all leaves live at once; whatever exceeds 32 MB is new memory at every call, and its page
faults outweigh the arithmetic.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from measure import RESULTS, alternate, quartiles, ratio, write_result
from rich.console import Console
from rich.table import Table

import l1jax
from l1jax.data.batches import Batch
from l1jax.models import dcgan
from l1jax.models.network import AXIS
from l1jax.objectives.adversarial import non_saturating
from l1jax.penalties import path_name
from l1jax.training.gan_passes import GanStepConfig, init_gan
from l1jax.training.gan_step import gan_step

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # before torch: its idle threads must not spin beside XLA's
RATE, STRENGTH, DRAWS = 2e-4, 1e-4, 4
KERNEL = r"(^|/)kernel$"
ONE_STEP = "proximal_adam, group_l1, one step per group"
FULL = "proximal_adam, group_l1, full metric"
TRAINED = ("optax.adam (against itself)", "proximal_adam, l1", ONE_STEP, FULL)
BASELINES = {
    "optax.adam": optax.adam(RATE),
    "optax.amsgrad": optax.amsgrad(RATE),
    "optax.rmsprop": optax.rmsprop(RATE),
    "optax.adagrad": optax.adagrad(RATE),
}
LEAF_BY_LEAF = {"xla_cpu_enable_concurrency_optimized_scheduler": False}
Params = Any


class Size(NamedTuple):
    """Of the GAN whose whole training steps are timed."""

    image: tuple[int, int, int]  # height, width, channels
    channels: int  # of the layer next to the image
    batch: int


class Row(NamedTuple):
    """Something to time."""

    run: Callable[[], None]  # one step, finished when it returns
    bytes: float | None  # read and written, as XLA counts them
    scratch: float | None  # bytes that the compiled step allocates


def transformations() -> dict[str, optax.GradientTransformation]:
    l1 = l1jax.l1(STRENGTH)
    group = l1jax.by_path({KERNEL: l1jax.group_l1(STRENGTH, l1jax.output_channels())})
    metric = partial(l1jax.proximal_adam, RATE)
    return {
        "optax.adam (against itself)": BASELINES["optax.adam"],
        "proximal_adam, l1": metric(l1),
        "proximal_adam, elastic_net": metric(l1jax.elastic_net(STRENGTH, STRENGTH)),
        "proximal_adam, mcp": metric(l1jax.mcp(STRENGTH, 3.0)),
        "proximal_adam, l1, track_sparsity": metric(l1, scale=l1jax.track_sparsity(0.5)),
        ONE_STEP: metric(group, per_group=True),
        FULL: metric(group),
        "adam → proximal, l1": optax.chain(optax.adam(RATE), l1jax.proximal(l1, RATE)),
        "adam → proximal, group_l1": optax.chain(optax.adam(RATE), l1jax.proximal(group, RATE)),
        "add_subgradient, l1 → adam": optax.chain(l1jax.add_subgradient(l1), optax.adam(RATE)),
        "ramda, l1": l1jax.ramda(RATE, l1),
    }


def per_group() -> dict[str, tuple[str, optax.GradientTransformation]]:
    """One step per group behind other optimisers than Adam: name → (baseline, transformation)."""
    group = l1jax.by_path({KERNEL: l1jax.group_l1(STRENGTH, l1jax.output_channels())})
    amsgrad = l1jax.preconditioned_proximal(
        BASELINES["optax.amsgrad"], l1jax.preconditioners.amsgrad(), group, RATE, per_group=True
    )
    rmsprop = l1jax.proximal_rmsprop(RATE, group, per_group=True)
    adagrad = l1jax.proximal_adagrad(RATE, group, per_group=True)
    return {
        "preconditioned_proximal(amsgrad), group_l1, one step per group": (
            "optax.amsgrad",
            amsgrad,
        ),
        "proximal_rmsprop, group_l1, one step per group": ("optax.rmsprop", rmsprop),
        "proximal_adagrad, group_l1, one step per group": ("optax.adagrad", adagrad),
    }


def make_tree(name: str) -> tuple[Params, list[Params]]:
    """Parameters, and gradients to take turns; float32."""
    if name == "dcgan64":
        params, _ = dcgan((64, 64, 3)).generator.network.init(jax.random.key(0))
    elif name == "dense100m":
        params = dense([(1024, 2048), (2048, 1024)] * 24)
    else:
        params = dense([(8, 16), (16, 8)])
    keys = iter(jax.random.split(jax.random.key(1), 2 + DRAWS))

    def spread(key: jax.Array, p: jax.Array) -> jax.Array:
        return p * 10 ** jax.random.uniform(key, p.shape[-1:], minval=-3, maxval=0)

    def draw(key: jax.Array, p: jax.Array) -> jax.Array:
        return 1e-3 * jax.random.normal(key, p.shape)

    params = over_leaves(spread, next(keys), params)
    return params, [over_leaves(draw, next(keys), params) for _ in range(DRAWS)]


def dense(shapes: list[tuple[int, int]]) -> Params:
    """The parameters of dense layers."""
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return {
        f"dense_{i}": {"kernel": 0.02 * jax.random.normal(key, shape), "bias": jnp.zeros(shape[-1])}
        for i, (key, shape) in enumerate(zip(keys, shapes, strict=True))
    }


def over_leaves(
    f: Callable[[jax.Array, jax.Array], jax.Array], key: jax.Array, tree: Params
) -> Params:
    leaves, treedef = jax.tree.flatten(tree)
    return treedef.unflatten(map(f, jax.random.split(key, len(leaves)), leaves))


def compiled_row(
    step: Callable[..., Any],
    init: Callable[[Params], Any],
    params: Params,
    grads: list[Params],
    options: dict[str, Any] | None = None,
) -> Row:
    """A row for step(params, state, grads) → (params, state)."""
    params = jax.tree.map(jnp.copy, params)
    carried = [params, init(params)]
    program = jax.jit(step, donate_argnums=(0, 1)).lower(*carried, grads[0]).compile(options)
    turn = 0

    def run() -> None:
        nonlocal turn
        carried[:] = program(*carried, grads[turn % len(grads)])
        jax.block_until_ready(carried)
        turn += 1

    costs, memory = program.cost_analysis(), program.memory_analysis()
    return Row(run, costs["bytes accessed"], memory.temp_size_in_bytes)


def optax_row(
    tx: optax.GradientTransformation,
    params: Params,
    grads: list[Params],
    options: dict[str, Any] | None = None,
) -> Row:
    def step(params: Params, state: Any, grads: Params) -> tuple[Params, Any]:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return compiled_row(step, tx.init, params, grads, options)


def jaxopt_row(group: bool, params: Params, grads: list[Params]) -> Row:
    """Take `optax.adam`'s step, then jaxopt's prox of the new parameters.

    jaxopt's group prox takes one group per call, so it is vmapped.
    """
    from jaxopt import prox

    tx = optax.adam(RATE)

    def channels(path: Any, p: jax.Array) -> jax.Array:
        if not re.search(KERNEL, path_name(path)):
            return p
        threshold = RATE * STRENGTH * np.sqrt(p.size / p.shape[-1])
        return jax.vmap(lambda channel: prox.prox_group_lasso(channel, threshold), -1, -1)(p)

    def step(params: Params, state: Any, grads: Params) -> tuple[Params, Any]:
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        if group:
            return jax.tree_util.tree_map_with_path(channels, params), state
        return prox.prox_lasso(params, STRENGTH, RATE), state

    return compiled_row(step, tx.init, params, grads)


def torch_row(threshold: float | None, params: Params, grads: list[Params]) -> Row:
    """Take a step of PyTorch's Adam, then softshrink each parameter in a loop.

    Adam is `fused` or `foreach`, whichever is faster.
    """
    variants = {name: torch_step(threshold, name, params, grads) for name in ("fused", "foreach")}
    seconds = alternate(variants, 5)
    return Row(min(variants.items(), key=lambda item: np.median(seconds[item[0]]))[1], None, None)


def torch_step(
    threshold: float | None, variant: str, params: Params, grads: list[Params]
) -> Callable[[], None]:
    import torch

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"

    def to_torch(tree: Params) -> list[Any]:
        return [torch.from_numpy(np.array(leaf)).to(device) for leaf in jax.tree.leaves(tree)]

    weights = [torch.nn.Parameter(weight) for weight in to_torch(params)]
    draws = [to_torch(draw) for draw in grads]
    optimizer = torch.optim.Adam(weights, lr=RATE, **{variant: True})
    turn = 0

    def run() -> None:
        nonlocal turn
        for weight, grad in zip(weights, draws[turn % len(draws)], strict=True):
            weight.grad = grad
        optimizer.step()
        if threshold is not None:
            with torch.no_grad():
                for weight in weights:
                    weight.copy_(torch.nn.functional.softshrink(weight, threshold))
        if device == "cuda":
            torch.cuda.synchronize()
        turn += 1

    return run


def rows() -> dict[str, tuple[str, Callable[[Params, list[Params]], Row]]]:
    """Name → (baseline, builder) of every row, l1jax first, then the peers."""
    ours = transformations()
    found = {name: ("optax.adam", partial(optax_row, tx)) for name, tx in ours.items()}
    for name, (baseline, tx) in per_group().items():
        found[name] = baseline, partial(optax_row, tx)
    if jax.default_backend() == "cpu":
        for name in (ONE_STEP, FULL):
            builder = partial(optax_row, ours[name], options=LEAF_BY_LEAF)
            found[f"{name}, leaf by leaf"] = "optax.adam", builder
    peers = {
        "adam → jaxopt prox_lasso": partial(jaxopt_row, False),
        "adam → jaxopt prox_group_lasso, vmapped": partial(jaxopt_row, True),
        "torch.optim.Adam": partial(torch_row, None),
        "torch.optim.Adam → softshrink": partial(torch_row, RATE * STRENGTH),
    }
    return found | {name: ("optax.adam", builder) for name, builder in peers.items()}


def measure_updates(tree: str, pairs: int, pattern: str) -> dict[str, Any]:
    """All rows of one tree whose names match, each against its baseline in turn.

    A row of a peer that is not installed is {"missing": the peer's name}.
    """
    params, grads = make_tree(tree)
    baselines: dict[str, Row] = {}
    found: dict[str, Any] = {}
    for name, (baseline, build) in rows().items():
        if not re.search(pattern, name):
            continue
        try:
            row = build(params, grads)
        except ImportError as error:
            found[name] = {"missing": error.name or str(error)}
            continue
        if baseline not in baselines:
            baselines[baseline] = optax_row(BASELINES[baseline], params, grads)
        found[name] = against(baselines[baseline], row, pairs) | {"baseline": baseline}
        print(f"{name}: {found[name]['ratio']['median']:.3f}", file=sys.stderr)
    size = sum(p.size for p in jax.tree.leaves(params))
    return {"tree": tree, "parameters": size, "pairs": pairs, "rows": found}


def against(baseline: Row, row: Row, pairs: int) -> dict[str, Any]:
    """Time and bytes of a row, relative to its baseline."""
    seconds = alternate({"baseline": baseline.run, "row": row.run}, pairs)
    return {
        "ratio": ratio(seconds["row"], seconds["baseline"]),
        "bytes_ratio": row.bytes and baseline.bytes and row.bytes / baseline.bytes,
        "scratch_bytes": row.scratch,
        "milliseconds": quartiles(1e3 * seconds["row"]),
    }


def training_step(tx: optax.GradientTransformation, size: Size) -> Callable[[], None]:
    """One DCGAN step of generator and discriminator, with `tx` for the generator."""
    gan, discriminator_tx = dcgan(size.image, channels=size.channels), optax.adam(RATE)
    step = partial(gan_step, GanStepConfig(gan, non_saturating, tx, discriminator_tx))
    mesh = Mesh(np.asarray(jax.devices()[:1]), (AXIS,))
    in_specs = P(), P(None, AXIS), P()
    mapped = jax.shard_map(step, mesh=mesh, in_specs=in_specs, out_specs=(P(), P()))
    program = jax.jit(mapped, donate_argnums=0)
    key = jax.random.key(2)
    nothing = jnp.zeros((1, size.batch), jnp.int32)
    images = jax.random.randint(key, (1, size.batch, *size.image), 0, 256).astype(jnp.uint8)
    batch = Batch(example=images, index=nothing, label=nothing)
    carried = [init_gan(gan, tx, discriminator_tx, key)]

    def run() -> None:
        carried[0], _ = program(carried[0], batch, key)
        jax.block_until_ready(carried)

    return run


def measure_training(names: Sequence[str], pairs: int, size: Size) -> dict[str, Any]:
    """Whole training steps with these transformations, ratio to those with `optax.adam`."""
    ours = transformations()
    runs = {"adam": training_step(optax.adam(RATE), size)}
    runs |= {name: training_step(ours[name], size) for name in names}
    seconds = alternate(runs, pairs)
    return {
        name: {
            "ratio": ratio(seconds[name], seconds["adam"]),
            "milliseconds": quartiles(1e3 * seconds[name]),
        }
        for name in names
    }


def show(result: dict[str, Any]) -> None:
    columns = ("× baseline", "quartiles", "bytes ×", "scratch MB", "ms")
    headings = [f"{result['tree']}, {result['parameters']:,} parameters: update + apply_updates"]
    headings += ["DCGAN: whole training step"] * ("training" in result)
    for heading, found in zip(headings, (result["rows"], result.get("training", {})), strict=False):
        table = Table(heading)
        for column in columns:
            table.add_column(column, justify="right")
        for name, row in found.items():
            table.add_row(name, *cells(row))
        Console(width=140).print(table)


def cells(row: dict[str, Any]) -> Iterator[str]:
    if "missing" in row:
        yield f"{row['missing']} is not installed"
        return
    yield f"{row['ratio']['median']:.3f}"
    yield f"{row['ratio']['low']:.3f}–{row['ratio']['high']:.3f}"
    yield f"{row['bytes_ratio']:.3f}" if row.get("bytes_ratio") else ""
    yield f"{row['scratch_bytes'] / 1e6:.1f}" if row.get("scratch_bytes") is not None else ""
    yield f"{row['milliseconds']['median']:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tree", choices=("dcgan64", "dense100m"), default="dcgan64")
    parser.add_argument("--pairs", type=int, default=30, help="alternating pairs per row")
    parser.add_argument("--rows", default="", help="regular expression: only these rows")
    parser.add_argument(
        "--training-pairs",
        type=int,
        default=10,
        help="rounds of whole training steps, dcgan64 only",
    )
    parser.add_argument(
        "--output", help="where to keep the result; default benchmarks/results/transforms-….json"
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: whether every row runs")
    arguments = parser.parse_args()
    if arguments.smoke:
        result = measure_updates("tiny", 1, arguments.rows)
        training = measure_training(TRAINED[1:2], 1, Size((8, 8, 3), 4, 2))
        show(result | {"training": training})
        return
    result = measure_updates(arguments.tree, arguments.pairs, arguments.rows)
    if arguments.tree == "dcgan64" and arguments.training_pairs:
        size = Size((64, 64, 3), 64, 64)
        result["training"] = measure_training(TRAINED, arguments.training_pairs, size)
    show(result)
    kept = RESULTS / f"transforms-{jax.default_backend()}-{arguments.tree}.json"
    output = arguments.output or kept
    print(write_result(output, f"python {' '.join(sys.argv)}", result))


if __name__ == "__main__":
    main()
