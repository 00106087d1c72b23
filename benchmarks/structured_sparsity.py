"""Group lasso on MNIST: proximal SGD, proximal Adam, RMDA and RAMDA side by side.

Run:      python benchmarks/structured_sparsity.py --data FOLDER [--problem logistic]
              [--problem cnn]
          python benchmarks/structured_sparsity.py --smoke   # images of noise; keeps nothing

FOLDER holds the four IDX files of MNIST, gzipped or not. Two problems: logistic regression with one
group per pixel, and a network of two convolutions and a dense layer with one group per output
channel and per input row. Every method gets the same batches in the same order, the same number of
epochs in five equal stages, the learning rate divided by 10 after each, where RMDA and RAMDA
restart. Its first learning rate is the one, of the same multiples of its authors' own, that leaves
the lowest loss + penalty on 10,000 held-out training images at one strength. Then all 60,000 are
trained on.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8
from measure import RESULTS, write_result
from structured_sparsity_report import at_equal_accuracy, mean_sd, plot, table

import l1jax
from l1jax.data.idx_source import read_labelled
from l1jax.models.linear import Conv

BATCH, STAGES, HELD_OUT = 128, 5, 10_000
OPTIMUM_STEPS = 1500

Images = UInt8[Array, "n 28 28"]
Labels = UInt8[Array, " n"]
Split = tuple[Images, Labels]


class Logistic(nn.Module):
    @nn.compact
    def __call__(self, images: Images) -> Float[Array, "n 10"]:
        return nn.Dense(10)(normalized(images).reshape(len(images), -1))


class Cnn(nn.Module):
    @nn.compact
    def __call__(self, images: Images) -> Float[Array, "n 10"]:
        x = nn.relu(Conv(16, 4, 4)(normalized(images)[..., None]))
        x = nn.relu(Conv(32, 3)(x))
        return nn.Dense(10)(x.reshape(len(x), -1))


class Problem(NamedTuple):
    model: nn.Module
    strengths: tuple[float, ...]
    tuned_at: float  # the strength at which learning rates are chosen
    epochs: int
    together: bool  # train all strengths in one vmapped program; else one after another


PROBLEMS = {
    "logistic": Problem(Logistic(), (3e-4, 1e-3, 3e-3, 1e-2), 1e-3, epochs=100, together=True),
    "cnn": Problem(Cnn(), (3e-5, 1e-4, 3e-4, 1e-3), 3e-4, epochs=15, together=False),
}
LEARNING_RATES = {
    "proximal SGD": 1e-2,
    "proximal Adam": 1e-3,
    "RMDA": 1e-1,
    "RAMDA": 1e-2,
}  # the authors'
MULTIPLES = (1.0, 3.0, 10.0, 30.0)  # of these, to choose from


def optimiser(
    method: str, rate: Any, penalty: l1jax.Penalty, restarts: list[int]
) -> optax.GradientTransformation:
    def fall(value: Any) -> optax.Schedule:
        return optax.piecewise_constant_schedule(value, dict.fromkeys(restarts, 0.1))

    match method:
        case "proximal SGD":
            return l1jax.proximal_sgd(fall(rate), penalty, momentum=0.9)
        case "proximal Adam":
            return l1jax.proximal_adam(fall(rate), penalty)
        case "RMDA":
            momentum = l1jax.rising_momentum(0.1, restarts[-1])
            return l1jax.rmda(fall(rate), penalty, momentum, restarts=restarts)
        case _:
            momentum = l1jax.rising_momentum(0.01, restarts[-1])
            return l1jax.ramda(fall(rate), penalty, momentum, fall(1e-2), restarts=restarts)


class Fit(NamedTuple):
    """What a run leaves, of the sparse solution at its end unless told otherwise."""

    loss: Float[Array, ""]  # nats per training image
    penalty: Float[Array, ""]
    test_loss: Float[Array, ""]
    accuracy: Float[Array, ""]  # on the test images
    zero_entries: Float[Array, ""]  # share of the penalised entries
    zeros: Bool[Array, "epochs groups"]  # zero groups at the end of each epoch
    restless: Float[Array, ""]  # share of groups both zero and not at steps of the last epoch


def normalized(images: Images) -> Float[Array, "n 28 28"]:
    return (images.astype(jnp.float32) / 255 - 0.1307) / 0.3081


def group_lasso(strength: Any) -> l1jax.Penalty:
    rows, channels = l1jax.input_channels(), l1jax.output_channels()
    patterns = {
        "Dense_./kernel": l1jax.group_l1(strength, rows),
        "Conv_./kernel": l1jax.group_l1(strength, channels),
    }
    return l1jax.by_path(patterns, allow_unmatched=True)  # each network has some of them


def zero_groups(params: PyTree, penalty: l1jax.Penalty) -> Bool[Array, " groups"]:
    return jnp.concatenate(list(l1jax.zero_groups(params, penalty).values()))


def loss(model: nn.Module, params: PyTree, split: Split) -> Float[Array, ""]:
    """Nats per image."""
    return optax.softmax_cross_entropy_with_integer_labels(
        model.apply(params, split[0]), split[1]
    ).mean()


def evaluate(model: nn.Module, params: PyTree, split: Split) -> tuple[Array, Array]:
    """Loss in nats per image, and accuracy, a thousand images at a time."""

    def chunk(rows: Split) -> tuple[Array, Array]:
        return loss(model, params, rows), (
            model.apply(params, rows[0]).argmax(-1) == rows[1]
        ).mean()

    means = jax.lax.map(chunk, jax.tree.map(lambda a: a.reshape(-1, 1000, *a.shape[1:]), split))
    return jax.tree.map(jnp.mean, means)


def fit(
    problem: Problem, method: str, epochs: int, train: Split, test: Split, seed: Any, run: Any
) -> Fit:
    """Train from the seed's initial parameters over the seed's batches, all inside one scan.

    `run` is the strength and the multiple of the learning rate.
    """
    (strength, multiple), size, model = run, len(train[0]), problem.model
    steps, penalty = size // BATCH, group_lasso(strength)
    restarts = [epochs * stage // STAGES * steps for stage in range(1, STAGES)]
    tx = optimiser(method, LEARNING_RATES[method] * multiple, penalty, restarts)
    init_key, order_key = jax.random.split(jax.random.key(seed))
    params = model.init(init_key, train[0][:1])

    def step(carry: Any, rows: Int[Array, " batch"]) -> tuple[Any, None]:
        params, opt_state, ever, always = carry
        grads = jax.grad(loss, argnums=1)(model, params, jax.tree.map(itemgetter(rows), train))
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        zeros = zero_groups(l1jax.solution(opt_state, params), penalty)
        return (params, opt_state, ever | zeros, always & zeros), None

    def epoch(carry: Any, number: Array) -> tuple[Any, Any]:
        params, opt_state, zeros = carry
        order = jax.random.permutation(jax.random.fold_in(order_key, number), size)
        carry = (params, opt_state, jnp.zeros_like(zeros), jnp.ones_like(zeros))
        (params, opt_state, ever, always), _ = jax.lax.scan(
            step, carry, order[: steps * BATCH].reshape(steps, BATCH)
        )
        zeros = zero_groups(l1jax.solution(opt_state, params), penalty)
        return (params, opt_state, zeros), (zeros, jnp.mean(ever & ~always))

    carry = (params, tx.init(params), zero_groups(params, penalty))
    (params, opt_state, _), (zeros, restless) = jax.lax.scan(epoch, carry, jnp.arange(epochs))
    solution = l1jax.solution(opt_state, params)
    train_loss, _ = evaluate(model, solution, train)
    test_loss, accuracy = evaluate(model, solution, test)
    zero_entries = l1jax.sparsity(solution, "kernel").total
    return Fit(
        train_loss, penalty.value(solution), test_loss, accuracy, zero_entries, zeros, restless[-1]
    )


@partial(jax.jit, static_argnums=(0, 1, 2))
def fit_path(
    problem: Problem, method: str, epochs: int, train: Split, test: Split, seed: Any, runs: Any
) -> Fit:
    """Call `fit` for several strengths and learning rates over the same batches.

    The fits are spread over the devices.
    """

    def share(train: Split, test: Split, seed: Any, runs: Any) -> Fit:
        one = partial(fit, problem, method, epochs, train, test, seed)
        return jax.vmap(one)(runs) if problem.together else jax.lax.map(one, runs)

    devices = jax.devices()[: math.gcd(len(runs[0]), jax.device_count())]
    each, same = jax.P("runs"), jax.P()
    mesh = jax.sharding.Mesh(devices, ("runs",))
    mapped = jax.shard_map(
        share, mesh=mesh, in_specs=(same, same, same, each), out_specs=each, check_vma=False
    )
    return mapped(train, test, seed, runs)


def tune(problem: Problem, method: str, epochs: int, train: Split) -> tuple[float, list[float]]:
    """Choose the multiple of the learning rate with the lowest loss + penalty.

    The loss is that on held-out images. Returned are the choice and all losses.
    """
    held_out = min(HELD_OUT, len(train[0]) // 2)
    kept, held = [
        tuple(a[part] for a in train) for part in (slice(held_out, None), slice(held_out))
    ]
    runs = jnp.full(len(MULTIPLES), problem.tuned_at), jnp.array(MULTIPLES)
    fits = fit_path(problem, method, epochs, kept, held, 0, runs)
    objectives = np.nan_to_num(np.asarray(fits.test_loss + fits.penalty, float), nan=np.inf)
    return MULTIPLES[int(objectives.argmin())], objectives.tolist()


class Optimum(NamedTuple):
    """The solution of the logistic problem."""

    objective: Float[Array, " path"]
    accuracy: Float[Array, " path"]
    zeros: Bool[Array, "path groups"]
    distance: Float[Array, " path"]  # of −∇loss to the subdifferential


@partial(jax.jit, static_argnums=0)
def optimum(steps: int, train: Split, test: Split, strengths: Float[Array, " path"]) -> Optimum:
    """Run FISTA over all images.

    Centred pixels change the intercept alone, and cut the curvature to a fifth.
    """
    pixels = normalized(train[0]).reshape(len(train[0]), -1)
    centre = pixels.mean(0)
    pixels -= centre
    curvature = (
        jnp.linalg.eigvalsh(pixels.T @ pixels / len(pixels))[-1] / 2
    )  # softmax's own is at most ½

    def loss_fn(params: PyTree) -> Array:
        logits = pixels @ params["Dense_0/kernel"] + params["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, train[1]).mean()

    def solve(strength: Array) -> Optimum:
        penalty = group_lasso(strength)
        tx = l1jax.accelerated(0.99 / curvature, penalty)

        def step(carry: Any, _: None) -> tuple[Any, None]:
            params, opt_state = carry
            updates, opt_state = tx.update(jax.grad(loss_fn)(params), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        params = {"Dense_0/kernel": jnp.zeros((pixels.shape[1], 10)), "bias": jnp.zeros(10)}
        (params, opt_state), _ = jax.lax.scan(step, (params, tx.init(params)), length=steps)
        params = l1jax.solution(opt_state, params)
        value, grads = jax.value_and_grad(loss_fn)(params)
        logits = (normalized(test[0]).reshape(len(test[0]), -1) - centre) @ params[
            "Dense_0/kernel"
        ] + params["bias"]
        accuracy = jnp.mean(logits.argmax(-1) == test[1])
        distance = penalty.distance(params, grads)
        return Optimum(
            value + penalty.value(params), accuracy, zero_groups(params, penalty), distance
        )

    return jax.vmap(solve)(strengths)


def summary(fits: Fit, epochs: int, exact: Any) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, which are the first axis, at one strength."""
    zeros, stage = np.asarray(fits.zeros), epochs - epochs * (STAGES - 1) // STAGES
    record = {
        "accuracy": fits.accuracy,
        "objective": fits.loss + fits.penalty,
        "loss": fits.loss,
        "zero_groups": zeros[:, -1].mean(-1),
        "zero_entries": fits.zero_entries,
        "restless": fits.restless,
        "flips": (zeros[:, -stage:] ^ zeros[:, -stage - 1 : -1]).mean(
            (1, 2)
        ),  # from epoch to epoch of the last stage
    }
    if exact is not None:
        record["missed_zeros"] = (exact & ~zeros[:, -1]).mean(-1)
        record["false_zeros"] = (~exact & zeros[:, -1]).mean(-1)
    return {name: mean_sd(values) for name, values in record.items()}


def compare(
    name: str,
    problem: Problem,
    data: tuple[Split, Split],
    epochs: int,
    seeds: int,
    optimum_steps: int,
    methods: Iterable[str],
) -> dict[str, Any]:
    """Tune, train and summarise these methods on one problem.

    Its data are training and test images.
    """
    train, test = data
    strengths = jnp.array(problem.strengths)
    result: dict[str, Any] = {
        "epochs": epochs,
        "strengths": problem.strengths,
        "tuned_at": problem.tuned_at,
    }
    exact: Any = [None] * len(strengths)
    if name == "logistic":
        solved = jax.tree.map(np.asarray, optimum(optimum_steps, train, test, strengths))
        exact = solved.zeros
        shares = solved._replace(zeros=exact.mean(1))._asdict()
        result["optimum"] = {
            "zero_groups": shares.pop("zeros").tolist(),
            **jax.tree.map(np.ndarray.tolist, shares),
        }
        print(f"{name}: optimum {result['optimum']}", flush=True)
    result["methods"] = {}
    for method in methods:
        rate = LEARNING_RATES[method]
        begin = time.perf_counter()
        multiple, tried = tune(problem, method, epochs, train)
        runs = strengths, jnp.full_like(strengths, multiple)
        fits = [
            fit_path(problem, method, epochs, train, test, 1 + seed, runs) for seed in range(seeds)
        ]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves, 1), *fits)  # strengths, seeds, …
        path = [
            summary(jax.tree.map(itemgetter(i), stacked), epochs, exact[i])
            for i in range(len(strengths))
        ]
        result["methods"][method] = {
            "learning_rate": rate * multiple,
            "held_out_objectives": dict(zip(MULTIPLES, tried, strict=True)),
            "path": path,
            "accuracies": stacked.accuracy.tolist(),
            "zero_groups": stacked.zeros[:, :, -1].mean(-1).tolist(),
            "seconds": time.perf_counter() - begin,
        }
        print(f"{name}: {method}, {result['methods'][method]['seconds']:.0f} s", flush=True)
    result["at_equal_accuracy"] = at_equal_accuracy(result["methods"])
    return result


def smoke() -> None:
    """Run both problems on images of noise for the fewest epochs, and print the tables.

    Two methods train the logistic regression and one the network; all are built.
    """
    for method in LEARNING_RATES:
        optimiser(method, 1e-3, group_lasso(1e-3), [1, 2])
    rng = np.random.default_rng(0)

    def noise(count: int) -> Split:
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.integers(0, 10, count, np.uint8)
        return jnp.asarray(images), jnp.asarray(labels)

    data = noise(2_000), noise(1_000)
    results = {}
    for name, problem in PROBLEMS.items():
        small = problem._replace(strengths=problem.strengths[:2])
        methods = ["proximal SGD", "RMDA"] if name == "logistic" else ["RAMDA"]
        results[name] = compare(
            name, small, data, STAGES, seeds=1, optimum_steps=2, methods=methods
        )
    print(table(results))
    with tempfile.TemporaryDirectory() as folder:
        plot(results, Path(folder, "plot.png"))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path("data/mnist"), help="folder with the four IDX files"
    )
    parser.add_argument("--problem", choices=PROBLEMS, action="append", help="default: both")
    parser.add_argument("--epochs", type=int, help=f"at least {STAGES}; default: the problem's own")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--output", type=Path, default=RESULTS / f"structured_sparsity-{jax.default_backend()}.json"
    )
    parser.add_argument(
        "--plot", type=Path, help="where to draw accuracy against zero groups, such as plot.png"
    )
    parser.add_argument("--smoke", action="store_true", help="images of noise; keeps nothing")
    options = parser.parse_args(arguments)
    if options.smoke:
        smoke()
        return
    if options.epochs is not None and options.epochs < STAGES:
        parser.error(
            f"`--epochs` (={options.epochs}) must be at least {STAGES}, one for each stage."
        )
    train, test = (
        tuple(map(jnp.asarray, read_labelled(str(options.data), split)))
        for split in ("train", "test")
    )
    results = {
        name: compare(
            name,
            PROBLEMS[name],
            (train, test),
            options.epochs or PROBLEMS[name].epochs,
            options.seeds,
            OPTIMUM_STEPS,
            LEARNING_RATES,
        )
        for name in options.problem or PROBLEMS
    }
    command = "python benchmarks/structured_sparsity.py " + " ".join(arguments or sys.argv[1:])
    setting = {
        "batch": BATCH,
        "stages": STAGES,
        "train": len(train[0]),
        "test": len(test[0]),
        "seeds": options.seeds,
    }
    write_result(options.output, command, {**setting, "problems": results})
    print(table(results))
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", os.cpu_count())
    main()
