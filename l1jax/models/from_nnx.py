"""Your own Flax NNX module as a network of pure functions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from l1jax.models.from_linen import label_parameter
from l1jax.models.network import AXIS, ClassWeights, Labels, Network, require_label


def from_nnx(make: Callable[[Any], Any], *, classes: int = 0) -> Network:
    """Turn your own Flax NNX module into a `Network`.

    The module is called with a batch of inputs, after `module.train()` in training and
    `module.eval()` otherwise. If the network has classes, the parameter `label`, `labels`, `y` or
    `classes` of its `__call__` gets them. Batch statistics are those of the whole batch over all
    devices. The masks of dropout differ from device to device, so that, with dropout, another
    number of devices trains another model; `from_linen` has no such limit.

    Args:
        make: (flax.nnx.Rngs) → the module, such as `lambda rngs: MyModule(width, rngs=rngs)`. Its
            parameters are `nnx.Param`, its running statistics `nnx.BatchStat`.
        classes: number of classes of a class-conditional network; 0 for an unconditional one.

    Returns:
        The network; its parameters are nested dictionaries, named as the module's attributes.

    Raises:
        TypeError: if `make` cannot be called, or makes no NNX module.
        ValueError: if the module has classes and no parameter for them, or keeps other variables.
    """
    from flax import nnx  # only those who use it wait for it

    if not callable(make) or isinstance(make, nnx.Module):
        raise TypeError(
            f"`make` (={type(make).__name__}) must be a function that makes a module from "
            "flax.nnx.Rngs, since a network starts from a key."
        )
    abstract = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    if not isinstance(abstract, nnx.Module):
        raise TypeError(
            f"`make` must return a module of flax.nnx, and returns a {type(abstract).__name__}."
        )
    label_name = label_parameter(abstract, classes)
    graph, *states = nnx.split(abstract, nnx.Param, nnx.BatchStat, nnx.RngState, ...)
    if nnx.to_flat_state(states[3]):
        path, variable = next(iter(nnx.to_flat_state(states[3])))
        raise ValueError(
            f"`make` makes a module whose {'/'.join(map(str, path))} is a {type(variable).__name__}"
            ", and a network has only nnx.Param and nnx.BatchStat."
        )
    params_state, stats_state, random_state, _ = states

    def init(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        _, params, stats, _ = nnx.split(make(nnx.Rngs(key)), nnx.Param, nnx.BatchStat, ...)
        return _to_tree(nnx, params), _to_tree(nnx, stats)

    def apply(
        params: PyTree,
        batch_stats: PyTree,
        inputs: Any,
        train: bool,
        label: Labels | ClassWeights | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Any, PyTree]:
        require_label(label, classes)
        module = nnx.merge(
            graph,
            _to_state(nnx, params_state, params),
            _to_state(nnx, stats_state, batch_stats),
            _random_state(nnx, random_state, key if train else None),
        )
        if train:
            module.train()
        else:
            module.eval()
        for _, part in nnx.iter_modules(module):
            if isinstance(part, nnx.BatchNorm) and part.axis_name is None:
                part.axis_name = AXIS
        options = {}
        if label_name is not None:
            options[label_name] = label
        outputs = module(inputs, **options)
        if not train or not batch_stats:
            return outputs, batch_stats
        new = _to_tree(nnx, nnx.state(module, nnx.BatchStat))
        return outputs, jax.tree.map(lambda old, x: x.astype(old.dtype), batch_stats, new)

    return Network(init, apply)


def _to_tree(nnx: Any, state: Any) -> dict[str, Any]:
    """Return a state as nested dictionaries of arrays; entries of lists are named by number."""
    tree: dict[str, Any] = {}
    for path, variable in nnx.to_flat_state(state):
        *parents, last = map(str, path)
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = variable[...]
    return tree


def _to_state(nnx: Any, template: Any, tree: PyTree) -> Any:
    """Return a state like a template with the arrays of nested dictionaries."""
    flat = []
    for path, variable in nnx.to_flat_state(template):
        value = tree
        for name in map(str, path):
            value = value[name]
        flat.append((path, variable.replace(value)))
    return nnx.from_flat_state(flat)


def _random_state(nnx: Any, template: Any, key: Key[Array, ""] | None) -> Any:
    """Return the state of the random streams at their beginning; a stream each of its own.

    Without a key they have a constant one, which inference does not use.
    """
    start = jax.random.key(0) if key is None else key
    if key is not None:
        start = jax.random.fold_in(start, jax.lax.axis_index(AXIS))
    flat = []
    for i, (path, variable) in enumerate(nnx.to_flat_state(template)):
        value = jnp.zeros((), jnp.uint32)
        if isinstance(variable, nnx.RngKey):
            value = jax.random.fold_in(start, i)
        flat.append((path, variable.replace(value)))
    return nnx.from_flat_state(flat)
