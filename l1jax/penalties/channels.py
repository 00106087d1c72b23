"""Groups by the names that the axes of a kernel have, in the layouts of the frameworks."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Layout: TypeAlias = Literal["in_out", "out_in"]
"""Whether the input axes of a kernel come before its output axes or behind them."""


@dataclass(frozen=True)
class Channels:
    """One group per index along some axes; made by `output_channels` and its like."""

    axes: tuple[int, ...]  # that number the groups; negative ones are counted from the last, −1
    name: str
    min_axes: int
    max_axes: int | None = None
    layout_given: bool = True


def output_channels(layout: Layout | None = None, axes: int = 1) -> Channels:
    """Name one group per output channel of a kernel: everything that one unit or filter reads with.

    A zero group is an output that is constant: it is its bias. With d as the size of an attention
    head, the paths and groups of the frameworks are:

    | Parameters | Path, shape | One group per | Groups |
    |---|---|---|---|
    | Flax Dense, Conv, ConvTranspose | `kernel` (…, in, out) | output | `output_channels()` |
    | Flax ConvTranspose, `transpose_kernel` | `kernel` (…, out, in) | output | `input_channels()` |
    | Haiku Linear, ConvND | `w` (…, in, out) | output | `output_channels()` |
    | Haiku ConvNDTranspose | `w` (…, out, in) | output | `input_channels()` |
    | Equinox layers | `weight` (out, in, …) | output | `output_channels("out_in")` |
    | PyTorch Linear, Conv | `weight` (out, in, …) | output | `output_channels("out_in")` |
    | PyTorch ConvTranspose | `weight` (in, out, …) | output | `input_channels("out_in")` |
    | Flax DenseGeneral | `kernel` (in, heads, d) | output | `output_channels(axes=2)` |
    | Flax attention's query, key, value | `kernel` (in, heads, d) | head | `axis=(0, 2)` |
    | Flax attention's out | `kernel` (heads, d, out) | head | `axis=(1, 2)` |
    | Flax Embed | `embedding` (tokens, features) | token | `axis=-1` |
    | LoRA, x A B | A (in, rank), B (rank, out) | rank | `output_channels()`, `input_channels()` |

    Args:
        layout: `"in_out"` if the output axes are the last of the kernel, `"out_in"` if they are the
            first. None is `"in_out"`, and refuses a kernel whose path ends with `weight`: Equinox
            and PyTorch call those so that are (out, in).
        axes: how many axes number the outputs; 2 in a Flax DenseGeneral of heads × head size.

    Raises:
        ValueError: if `layout` is unknown or `axes` is not a whole number of at least 1; and, when
            it meets a kernel, if that has too few axes, or if it is named `weight` and no layout
            was given.

    >>> import jax.numpy as jnp, l1jax
    >>> kernel = jnp.array([[3.0, 0.1], [4.0, 0.1]])  # (in, out): its columns
    >>> l1jax.group_l1(0.5**0.5, l1jax.output_channels()).prox(kernel, 1.0).round(1)
    Array([[2.4, 0. ],
           [3.2, 0. ]], dtype=float32)
    >>> l1jax.group_l1(0.5**0.5, l1jax.output_channels("out_in")).prox(kernel.T, 1.0).round(1)
    Array([[2.4, 3.2],
           [0. , 0. ]], dtype=float32)
    """
    _check_arguments(layout, axes)
    name = _call("output_channels", layout, axes)
    if layout == "out_in":
        return Channels(tuple(range(axes)), name, axes + 1)
    return Channels(tuple(range(-axes, 0)), name, axes + 1, layout_given=layout is not None)


def input_channels(layout: Layout | None = None, axes: int = 1) -> Channels:
    """Name one group per input channel of a kernel: everything that is read from it.

    A zero group means that the layer ignores that channel. With `feature_group_count` > 1 the axis
    counts channels within a feature group, so an index is not one channel there. `output_channels`
    has the table of frameworks; the output is one axis here.

    Args:
        layout: as in `output_channels`: in `"in_out"`, the default, the input axes are those
            in front of the last axis; in `"out_in"` those behind the first.
        axes: how many axes number the inputs; 2 in Flax attention's `out`, (heads, head size, out).

    Raises:
        ValueError: as in `output_channels`.

    >>> import jax.numpy as jnp, l1jax
    >>> kernel = jnp.array([[3.0, 4.0], [0.1, 0.1]])  # (in, out): its rows
    >>> l1jax.group_l1(0.5**0.5, l1jax.input_channels()).prox(kernel, 1.0).round(1)
    Array([[2.4, 3.2],
           [0. , 0. ]], dtype=float32)
    """
    _check_arguments(layout, axes)
    name = _call("input_channels", layout, axes)
    if layout == "out_in":
        return Channels(tuple(range(1, axes + 1)), name, axes + 1)
    return Channels(tuple(range(-axes - 1, -1)), name, axes + 1, layout_given=layout is not None)


def scales() -> Channels:
    """Name one group per entry of a norm layer's scale γ of shape (channels,).

    A scale of zero switches its channel off.

    >>> import jax.numpy as jnp, l1jax
    >>> l1jax.group_l1(1.0, l1jax.scales()).prox(jnp.array([3.0, 0.1]), 1.0).round(1)
    Array([2., 0.], dtype=float32)
    """
    return Channels((-1,), "scales()", 1, 1)


def channel_axes(channels: Channels, shape: tuple[int, ...], path: str) -> tuple[int, ...]:
    """Return the axes over which a group extends: all that do not number the groups.

    Args:
        channels: the groups.
        shape: the shape of the array.
        path: the name of the array, for errors.

    Raises:
        ValueError: if the array has too few or too many axes, or probably another layout.
    """
    ndim = len(shape)
    too_few = ndim < channels.min_axes
    too_many = channels.max_axes is not None and ndim > channels.max_axes
    if too_few or too_many:
        required = f"at least {channels.min_axes} axes"
        if channels.max_axes == 1:
            required = "exactly 1 axis"
        raise ValueError(
            f"`axis` (={channels.name}) must meet arrays of {required}, but {path} has the shape "
            f"{shape}; choose the leaves by `by_path`."
        )
    if not channels.layout_given and path.rpartition("/")[2] == "weight":
        function = channels.name.partition("(")[0]
        raise ValueError(
            f"`axis` (={channels.name}) must have a layout for {path} of shape {shape}, because "
            "Equinox and PyTorch name a kernel `weight` that is (out, in): write "
            f"{function}('out_in'), or {function}('in_out') if this one is (in, out)."
        )
    numbering = {axis % ndim for axis in channels.axes}
    return tuple(axis for axis in range(ndim) if axis not in numbering)


def _check_arguments(layout: object, axes: object) -> None:
    if layout not in (None, "in_out", "out_in"):
        raise ValueError(
            f"`layout` (={layout!r}) must be 'in_out', as in Flax and Haiku, or 'out_in', as in "
            "Equinox and PyTorch."
        )
    if not isinstance(axes, int) or isinstance(axes, bool) or axes < 1:
        raise ValueError(f"`axes` (={axes!r}) must be a whole number of at least 1.")


def _call(function: str, layout: str | None, axes: int) -> str:
    """Return how the user wrote the call, for errors."""
    arguments: list[str] = []
    if layout is not None:
        arguments.append(repr(layout))
    if axes != 1:
        arguments.append(f"axes={axes}")
    return f"{function}({', '.join(arguments)})"
