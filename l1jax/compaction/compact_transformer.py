"""Remove the dead attention heads and feed-forward units of a transformer, and verify the rest."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from l1jax.compaction.constants import find_constants
from l1jax.compaction.graph import Graph
from l1jax.compaction.live_entries import find_live_entries
from l1jax.compaction.trace import trace
from l1jax.compaction.verify_module import MismatchError
from l1jax.models import LanguageModel, generate

TOLERANCE = 1e-5  # of float32 sums that are computed in another order
CONTEXTS = 2  # length of what is compared, in contexts: the window of attention moves, too
BATCH = 8  # sequences that are compared
ROUNDS = 5

BlockRebuilder = Callable[[tuple[int, ...], tuple[int, ...]], LanguageModel]
"""(heads of each block, units of each block) → the network of these sizes."""


class TrainedLanguageModel(NamedTuple):
    """A transformer with its weights, and the sizes of its blocks."""

    model: LanguageModel
    params: PyTree
    block_heads: tuple[int, ...]
    block_hidden: tuple[int, ...]


class TextCost(NamedTuple):
    """What a language model costs."""

    parameters: int
    bytes: int
    # Attention heads and feed-forward units in all blocks.
    heads: int
    units: int
    # Generated, with a cache of keys and values: the median of the rounds.
    tokens_per_second: float


class TextVerification(NamedTuple):
    """How a compact transformer compares with the original.

    Attributes:
        error: the largest difference of any logit from the exact one, divided by the largest exact
            value. The compact network computes in float32; the original in float64 is exact.
        rounding: the same for the original computed in float32.
        count: tokens whose logits were compared.
        before: cost of the original.
        after: cost of the compact network.
    """

    error: float
    rounding: float
    count: int
    before: TextCost
    after: TextCost


def compact_transformer(
    model: LanguageModel, params: PyTree, rebuild: BlockRebuilder
) -> TrainedLanguageModel:
    """Remove every head and every feed-forward unit on which no logit depends.

    A unit is dead if what it reads or what it writes is all zero. So is a head; heads that share
    keys and values with others are removed together with them. A block that is left without heads,
    or without units, loses that part and its norm. The residual stream keeps its width, since the
    norms mix all of it.

    Args:
        model: a transformer, as `l1jax.models.transformer` makes it.
        params: its parameters; concrete.
        rebuild: makes the same transformer with other numbers of heads and units in its blocks.
    """
    params = jax.tree.map(jnp.asarray, params)
    tokens = jax.ShapeDtypeStruct((model.context,), jnp.int32)

    def apply(tokens: Array) -> Array:
        return model.network.apply(params, {}, tokens, False)[0]

    graph = trace(apply, {"params": params}, [tokens])
    live = find_live_entries(graph, find_constants(graph))
    names = {node.name: i for i, node in enumerate(graph.nodes) if node.name}
    smaller = dict(params)
    block_heads = []
    block_hidden = []
    for name in sorted((n for n in params if n.startswith("block_")), key=_block_number):
        block = dict(params[name])
        output = names.get(f"{name}/attention/output")
        heads_left = 0
        if output is not None:
            source = graph.nodes[output].inputs[0]
            heads_left = _cut_attention(block, graph, source, live[source][-1])
        block_heads.append(heads_left)
        up = names.get(f"{name}/feed_forward/up")
        block_hidden.append(0 if up is None else _cut_units(block, live[up][-1]))
        smaller[name] = block
    smaller = {name: tree for name, tree in smaller.items() if tree}
    heads = tuple(block_heads)
    hidden = tuple(block_hidden)
    return TrainedLanguageModel(rebuild(heads, hidden), smaller, heads, hidden)


def _block_number(name: str) -> int:
    return int(name.removeprefix("block_"))


def _cut_attention(
    block: dict[str, Any], graph: Graph, source: int, channels: Bool[np.ndarray, " channels"]
) -> int:
    """Leave out the channels of dead heads in a block's parameters; return how many are left."""
    options = graph.nodes[source].options
    shared = options["heads"] // options["key_value_heads"]
    groups = np.asarray(channels.reshape(options["key_value_heads"], -1).any(1))
    if not groups.any():
        del block["attention"], block["attention_norm"]
        return 0
    kernels = {part: np.asarray(layer["kernel"]) for part, layer in block["attention"].items()}
    keys = np.repeat(groups, kernels["key"].shape[1] // len(groups))
    cut = {
        "query": kernels["query"][:, channels],
        "key": kernels["key"][:, keys],
        "value": kernels["value"][:, keys],
        "output": kernels["output"][channels],
    }
    block["attention"] = {part: {"kernel": jnp.asarray(kernel)} for part, kernel in cut.items()}
    return shared * int(groups.sum())


def _cut_units(block: dict[str, Any], units: Bool[np.ndarray, " units"]) -> int:
    """Leave out the dead units in a block's parameters; return how many are left."""
    if not units.any():
        del block["feed_forward"], block["feed_forward_norm"]
        return 0
    cut = {}
    for part, layer in block["feed_forward"].items():
        kernel = np.asarray(layer["kernel"])
        kernel = kernel[units] if part == "down" else kernel[:, units]
        cut[part] = {"kernel": jnp.asarray(kernel)}
    block["feed_forward"] = cut
    return int(units.sum())


def verify_transformer(
    original: TrainedLanguageModel,
    compact: TrainedLanguageModel,
    key: Key[Array, ""],
    *,
    batch: int = 64,
    rounds: int = ROUNDS,
) -> TextVerification:
    """Compare two transformers on random tokens, and measure how fast they generate.

    Args:
        original: the transformer as it was trained.
        compact: what `compact_transformer` made of it; both compute in float32 or better.
        key: random key of the tokens.
        batch: sequences that are generated at a time where the speed is measured.
        rounds: number of timed calls of each; the two take turns.

    Raises:
        MismatchError: if the error is above 1e-5 and above twice the rounding of the original, or
            not a number.
    """
    model = original.model
    shape = (BATCH, CONTEXTS * model.context)
    tokens = np.asarray(jax.random.randint(key, shape, 0, model.vocabulary))
    with jax.enable_x64(True):
        exact = _logits(_in_float64(original), tokens)
    rounding = _error(_logits(original, tokens), exact)
    error = _error(_logits(compact, tokens), exact)
    allowed = max(TOLERANCE, 2 * rounding)
    if not error <= allowed:
        raise MismatchError(
            f"`compact_transformer` computes other logits: their largest difference is {error:.3g} "
            f"of the largest value, and must be at most {allowed:.3g}. Nothing was written; please "
            "report this with the run's config.json."
        )
    speeds = _tokens_per_second([original, compact], batch, rounds)
    return TextVerification(
        error, rounding, tokens.size, _cost(original, speeds[0]), _cost(compact, speeds[1])
    )


def _cost(trained: TrainedLanguageModel, speed: float) -> TextCost:
    leaves = jax.tree.leaves(trained.params)
    return TextCost(
        parameters=sum(leaf.size for leaf in leaves),
        bytes=sum(leaf.nbytes for leaf in leaves),
        heads=sum(trained.block_heads),
        units=sum(trained.block_hidden),
        tokens_per_second=speed,
    )


def _logits(
    trained: TrainedLanguageModel, tokens: Int[np.ndarray, "batch length"]
) -> Float[np.ndarray, "batch length vocabulary"]:
    with jax.default_matmul_precision("highest"):
        apply = jax.jit(partial(trained.model.network.apply, train=False))
        return np.asarray(apply(trained.params, {}, tokens)[0])


def _in_float64(trained: TrainedLanguageModel) -> TrainedLanguageModel:
    params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), trained.params)
    return trained._replace(params=params)


def _error(found: np.ndarray, exact: np.ndarray) -> float:
    largest = float(np.abs(exact).max()) or 1.0
    return float(np.abs(found - exact).max()) / largest


def _tokens_per_second(models: list[TrainedLanguageModel], batch: int, rounds: int) -> list[float]:
    """Measure how many tokens of a context each model generates in a second, from a token 0."""
    calls = []
    prompts = jnp.zeros((batch, 1), jnp.int32)
    key = jax.random.key(0)
    length = models[0].model.context
    for trained in models:
        draw = jax.jit(partial(generate, trained.model, length=length))
        call = partial(draw, trained.params, prompts, key)
        jax.block_until_ready(call())
        calls.append(call)
    seconds = np.zeros((rounds, len(calls)))
    for turn in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[turn, i] = time.perf_counter() - start
    return (batch * length / np.median(seconds, axis=0)).tolist()
