"""Your own Flax Linen module as a network: how it is called, its statistics, its dropout."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Key, PyTree

from l1jax.models.network import AXIS, ClassWeights, Labels, Network, local_slice, require_label

TRAIN = ("train", "training", "is_training")
INFERENCE = ("deterministic", "use_running_average")
LABEL = ("label", "labels", "y", "classes")
COLLECTIONS = ("params", "batch_stats")


def from_linen(
    module: Any,
    input_shape: tuple[int, ...],
    *,
    classes: int = 0,
    labels: int = 1,
) -> Network:
    """Turn your own Flax Linen module into a `Network`.

    The module is called with a batch of inputs. If its `__call__` has a parameter `train`,
    `training` or `is_training`, or `deterministic` or `use_running_average`, it is told by it
    whether it trains; if the network has classes, its parameter `label`, `labels`, `y` or
    `classes` gets them.

    Batch statistics are those of the whole batch over all devices, and the masks of `nn.Dropout`
    are drawn for the whole batch, so that any number of devices trains the same model. Both hold
    for modules that were not written for several devices.

    Args:
        module: the module. It keeps parameters in the collection "params" and running statistics
            in "batch_stats", and draws in training from the stream "dropout".
        input_shape: shape of one example, such as (latent_size,) or the image shape.
        classes: number of classes of a class-conditional network; 0 for an unconditional one.
        labels: number of labels per example; more than 1 where examples are `packed`.

    Returns:
        The network. Its `apply` raises a ValueError if it has classes and gets no label.

    Raises:
        TypeError: if `module` is no Linen module.
        ValueError: if it has classes and no parameter for them, or keeps other collections.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"`module` (={type(module).__name__}) must be a module of flax.linen; `from_nnx` "
            "takes a function that makes one of flax.nnx."
        )
    call = _caller(module, classes)

    def init(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        label = None
        if classes:
            label = jnp.zeros((1,) if labels == 1 else (1, labels), jnp.int32)
        inputs = jnp.zeros((1, *input_shape))
        variables = module.init(key, inputs, False, label, method=call)
        _check_collections(module, variables)
        return variables.get("params", {}), variables.get("batch_stats", {})

    def apply(
        params: PyTree,
        batch_stats: PyTree,
        inputs: Any,
        train: bool,
        label: Labels | ClassWeights | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Any, PyTree]:
        require_label(label, classes)
        variables = {"params": params, "batch_stats": batch_stats}
        rngs = {} if key is None else {"dropout": key}
        arguments = (inputs, train, label if classes else None)
        with nn.intercept_methods(_over_devices):
            if not train or not batch_stats:
                outputs = module.apply(variables, *arguments, rngs=rngs, method=call)
                return outputs, batch_stats
            outputs, updated = module.apply(
                variables, *arguments, rngs=rngs, mutable=["batch_stats"], method=call
            )
        new_batch_stats = jax.tree.map(
            lambda old, new: new.astype(old.dtype), batch_stats, updated["batch_stats"]
        )
        return outputs, new_batch_stats

    return Network(init, apply)


def _caller(module: nn.Module, classes: int) -> Callable[..., Any]:
    """Return the function (module, inputs, train, label) that calls a module as it is declared."""
    names = list(inspect.signature(type(module).__call__).parameters)[2:]
    train_name = next((name for name in TRAIN if name in names), None)
    inference_names = [name for name in INFERENCE if name in names]
    label_name = label_parameter(module, classes)

    def call(module: Any, inputs: Any, train: bool, label: Any) -> Any:
        options: dict[str, Any] = dict.fromkeys(inference_names, not train)
        if train_name is not None:
            options[train_name] = train
        if label_name is not None:
            options[label_name] = label
        return module(inputs, **options)

    return call


def label_parameter(module: Any, classes: int) -> str | None:
    """Return the name of the parameter by which a module gets the labels; None without classes.

    Args:
        module: of any kind with a `__call__`, whose first parameter is the inputs.
        classes: of the network; 0 if it has none.

    Raises:
        ValueError: if it has classes and there is no such parameter.
    """
    if not classes:
        return None
    names = list(inspect.signature(type(module).__call__).parameters)[2:]
    found = next((name for name in LABEL if name in names), None)
    if found is None:
        raise ValueError(
            f"`classes` (={classes}) must be 0 for a {type(module).__name__}, whose __call__ has "
            f"no parameter {', '.join(LABEL[:-1])} or {LABEL[-1]}."
        )
    return found


def _check_collections(module: nn.Module, variables: PyTree) -> None:
    others = sorted(set(variables) - {*COLLECTIONS, "intermediates"})
    if others:
        raise ValueError(
            f"`module` (={type(module).__name__}) keeps the collection {others[0]!r}, and a "
            f"network has only {' and '.join(COLLECTIONS)}."
        )


def _over_devices(
    call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
) -> Any:
    """Let batch norms and dropout of any module see the whole batch over all devices."""
    module = context.module
    if context.method_name != "__call__":
        return call(*args, **kwargs)
    if isinstance(module, nn.BatchNorm) and module.axis_name is None:
        object.__setattr__(module, "axis_name", AXIS)  # modules are frozen, and this one is bound
    if isinstance(module, nn.Dropout):
        return _drop(module, *args, **kwargs)
    return call(*args, **kwargs)


def _drop(
    module: nn.Dropout, inputs: Array, deterministic: bool | None = None, rng: Any = None
) -> Array:
    """Drop entries as `nn.Dropout` does, by a mask of the whole batch over all devices."""
    is_off = nn.merge_param("deterministic", module.deterministic, deterministic)
    if is_off or module.rate == 0:
        return inputs
    if module.rate == 1:
        return jnp.zeros_like(inputs)
    key = module.make_rng(module.rng_collection) if rng is None else rng
    shape = list(inputs.shape)
    for axis in module.broadcast_dims:
        shape[axis] = 1
    if shape[0] > 1 or inputs.shape[0] == 1:
        shape[0] = inputs.shape[0] * jax.lax.axis_size(AXIS)
        mask = local_slice(jax.random.bernoulli(key, 1 - module.rate, shape))
    else:
        mask = jax.random.bernoulli(key, 1 - module.rate, shape)
    return jnp.where(mask, inputs / (1 - module.rate), 0)
