"""Remove channels from a residual network by coupled groups, and by Torch-Pruning, to equal FLOPs.

PYTHONPATH=. python benchmarks/coupled.py           # scikit-learn's digits; some minutes on a core
PYTHONPATH=. python benchmarks/coupled.py --smoke   # images of noise; keeps nothing

Both start from the same dense weights, which l1jax trains. Then come equally many steps that make
the network sparse, its reduction to at most the same share of multiplications, and equally many
steps that train what is left; Adam, the learning rates and the batches are the same.

l1jax: proximal Adam with `coupled` on the groups that `channel_groups` finds, a target of zeros
that rises to what the multiplications ask for, `freeze_support` to meet them, `compact_linen`.
Torch-Pruning (optional): the sparse learning of its `GroupNormPruner` ("DepGraph"), with the
strength of two that leaves the best accuracy on held-out images, for one seed, and its ranking of
groups by magnitude over all layers at once.

The result is benchmarks/results/coupled-cpu.json.
"""

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, PyTree
from measure import RESULTS, write_result
from sklearn.datasets import load_digits

import l1jax
from l1jax.compaction import channel_groups, compact_linen

RESULT = RESULTS / "coupled-cpu.json"
COMMAND = "PYTHONPATH=. python benchmarks/coupled.py"
BATCH = 64
RATE = 2e-3  # of Adam while the network is dense or becomes sparse; it falls to 0 at the end
TRAINING = 1_300  # images; the other 497 are for the test
HELD_OUT = 300  # of the training images, for a choice
WIDTHS = (16, 16, 32, 32)  # of the first stream and its hidden layer, and of the second
SHARES = (0.3, 0.1)  # of the dense network's multiplications
STRENGTHS = (1e-4, 1e-3)  # of Torch-Pruning's sparse learning; the first is its default

Images = Float[np.ndarray, "n 9 9 1"]
Labels = Int[np.ndarray, " n"]


class Data(NamedTuple):
    train: tuple[Images, Labels]
    test: tuple[Images, Labels]


class Steps(NamedTuple):
    dense: int
    sparse: int
    tuned: int


class Outcome(NamedTuple):
    accuracy: float
    share: float  # of the dense network's multiplications
    widths: tuple[int, ...]


class ResNet(nn.Module):
    """Two streams, each with a residual block."""

    widths: tuple[int, ...] = WIDTHS

    @nn.compact
    def __call__(self, x: Float[Array, "n 9 9 1"]) -> Float[Array, "n 10"]:
        def conv(width: int, name: str, stride: int = 1) -> nn.Conv:
            return nn.Conv(width, (3, 3), stride, name=name)

        for i, (stream, hidden) in enumerate((self.widths[:2], self.widths[2:])):
            x = nn.relu(conv(stream, f"down_{i}", 2)(x))
            y = nn.relu(conv(hidden, f"hidden_{i}")(x))
            x = nn.relu(x + conv(stream, f"back_{i}")(y))
        return nn.Dense(10, name="logits")(x.mean((1, 2)))


def multiplications(widths: tuple[int, ...]) -> int:
    """Return those of one image, 9 × 9, then 5 × 5 and 3 × 3."""
    first, first_hidden, second, second_hidden = widths
    of_5 = 9 * first + 2 * 9 * first * first_hidden
    of_3 = 9 * first * second + 2 * 9 * second * second_hidden
    return 25 * of_5 + 9 * of_3 + 10 * second


def batches(seed: int, stage: int, steps: int, size: int) -> Int[np.ndarray, "steps batch"]:
    return np.random.default_rng([seed, stage]).integers(0, size, (steps, BATCH))


def falling(steps: int, rate: float = RATE) -> optax.Schedule:
    return optax.cosine_decay_schedule(rate, steps)


def train(
    network: Any,
    params: PyTree,
    tx: optax.GradientTransformation,
    data: tuple[Images, Labels],
    rows: Int[np.ndarray, "steps batch"],
) -> PyTree:
    images, labels = data

    def loss(params: PyTree, images: Array, labels: Array) -> Array:
        logits = network.apply({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(params: PyTree, state: PyTree, images: Array, labels: Array) -> tuple[PyTree, PyTree]:
        grads = jax.grad(loss)(params, images, labels)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for batch in rows:
        params, state = step(params, state, images[batch], labels[batch])
    return params


def accuracy(network: Any, params: PyTree, data: tuple[Images, Labels]) -> float:
    images, labels = data
    predict = jax.jit(lambda x: network.apply({"params": params}, x).argmax(-1))
    return float(np.mean(np.asarray(predict(jnp.asarray(images))) == labels))


def pretrain(data: Data, seed: int, steps: Steps) -> PyTree:
    network = ResNet()
    params = network.init(jax.random.key(seed), data.train[0][:1])["params"]
    rows = batches(seed, 0, steps.dense, len(data.train[0]))
    return train(network, params, optax.adam(falling(steps.dense)), data.train, rows)


def by_coupled_groups(data: Data, dense: PyTree, seed: int, steps: Steps, share: float) -> Outcome:
    """Multiplications grow with the square of the channels, which tells the target of zeros."""
    network = ResNet()
    example = data.train[0][:1]
    groups = channel_groups(network, {"params": dense}, example)
    penalty = l1jax.coupled(1e-3, groups)
    zeros = 1 - share**0.5

    def target(count: Any) -> Any:
        return zeros * jnp.minimum((count + 1) / (0.6 * steps.sparse), 1)

    scale = l1jax.track_sparsity(target, max(steps.sparse // 5, 20))
    rate = falling(steps.sparse)
    tx = l1jax.proximal_adam(rate, penalty, scale=scale, per_group=True)
    rows = batches(seed, 1, steps.sparse, len(data.train[0]))
    sparse = train(network, dense, tx, data.train, rows)
    frozen, widths = _meet(sparse, penalty, groups, share)
    smaller, variables = compact_linen(network, {"params": frozen}, example)
    rows = batches(seed, 2, steps.tuned, len(data.train[0]))
    adam = optax.adam(falling(steps.tuned))
    params = train(smaller, variables["params"], adam, data.train, rows)
    return Outcome(
        accuracy(smaller, params, data.test),
        multiplications(widths) / multiplications(WIDTHS),
        widths,
    )


def _meet(
    params: PyTree, penalty: l1jax.Penalty, groups: Any, share: float
) -> tuple[PyTree, tuple[int, ...]]:
    """Freeze the least share of zeros that leaves few enough multiplications, by bisection."""
    names = ("down_0", "hidden_0", "down_1", "hidden_1")

    @jax.jit
    def frozen_at(zeros: Array) -> tuple[PyTree, list[Array]]:
        tx = l1jax.freeze_support(target=zeros, groups=groups)
        still = jax.tree.map(jnp.zeros_like, params)
        updates, _ = tx.update(still, tx.init(params), params)
        frozen = optax.apply_updates(params, updates)
        dead = l1jax.zero_groups(frozen, penalty)
        return frozen, [jnp.sum(~dead[f"{name}/kernel"]) for name in names]

    low = 0.0
    high = 0.99
    for _ in range(10):
        middle = (low + high) / 2
        widths = tuple(int(width) for width in frozen_at(jnp.asarray(middle))[1])
        if multiplications(widths) <= share * multiplications(WIDTHS):
            high = middle
        else:
            low = middle
    frozen, alive = frozen_at(jnp.asarray(high))
    return frozen, tuple(int(width) for width in alive)


def compare(data: Data, seeds: int, steps: Steps) -> dict[str, Any]:
    methods: dict[str, Callable[..., Outcome]] = {"coupled groups": by_coupled_groups}
    result: dict[str, Any] = {"steps": steps._asdict(), "seeds": seeds}
    dense = [pretrain(data, seed, steps) for seed in range(seeds)]
    result["dense accuracy"] = summary([accuracy(ResNet(), p, data.test) for p in dense])
    if importlib.util.find_spec("torch_pruning"):
        from coupled_peer import by_group_norm

        part = HELD_OUT if len(data.train[0]) > 2 * HELD_OUT else len(data.train[0]) // 2
        kept, held = (tuple(a[s] for a in data.train) for s in (slice(part, None), slice(part)))
        tuning = Data(kept, held)  # pyright: ignore[reportArgumentType]
        found = {
            strength: by_group_norm(tuning, dense[0], 0, steps, SHARES[0], strength).accuracy
            for strength in STRENGTHS
        }
        best = max(found, key=lambda strength: found[strength])
        result["Torch-Pruning's strengths on held-out images"] = {str(s): found[s] for s in found}

        def torch_pruning(*arguments: Any) -> Outcome:
            return by_group_norm(*arguments, best)

        methods["Torch-Pruning"] = torch_pruning
    for share in SHARES:
        for name, method in methods.items():
            outcomes = [method(data, dense[seed], seed, steps, share) for seed in range(seeds)]
            result[f"{share:.0%} of the multiplications, {name}"] = {
                "accuracy": summary([outcome.accuracy for outcome in outcomes]),
                "share of the multiplications": summary([outcome.share for outcome in outcomes]),
                "widths": [outcome.widths for outcome in outcomes],
            }
    return result


def summary(values: list[float]) -> dict[str, float]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": spread}


def read() -> Data:
    """Read scikit-learn's digits, with a row and a column of zeros, in a random order."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = np.pad(digits.images[order] / 16, ((0, 0), (0, 1), (0, 1)))[..., None]
    images = images.astype(np.float32)
    labels = digits.target[order].astype(np.int32)
    train = slice(None, TRAINING)
    test = slice(TRAINING, None)
    return Data((images[train], labels[train]), (images[test], labels[test]))


def noise(count: int) -> Data:
    rng = np.random.default_rng(0)

    def split() -> tuple[Images, Labels]:
        images = rng.uniform(size=(count, 9, 9, 1)).astype(np.float32)
        return images, rng.integers(0, 10, count).astype(np.int32)

    return Data(split(), split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="few steps on noise; keeps nothing")
    options = parser.parse_args()
    if options.smoke:
        print(compare(noise(128), 1, Steps(2, 20, 2)))
        return
    result = compare(read(), options.seeds, Steps(600, 800, 400))
    print(write_result(RESULT, COMMAND, result).read_text())


if __name__ == "__main__":
    main()
