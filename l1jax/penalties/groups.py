"""Groups of a parameter's entries: by axes, or by the names that a Flax kernel's axes have."""

import math
import operator
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array


@dataclass(frozen=True)
class Channels:
    """One group per index along one axis, counted from the last; made by `output_channels` and its like."""

    axis: int
    name: str
    least_axes: int
    most_axes: int | None = None


@dataclass(frozen=True)
class Blocks:
    """One group per block of this shape, over the last axes; made by `kernel_blocks`."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Whole:
    """One group, the whole leaf: of `linf` and `l1_ball`."""


Groups: TypeAlias = int | tuple[int, ...] | Channels | Blocks | Whole
"""Axes to reduce over, one group per remaining index; or groups by name."""


def output_channels() -> Channels:
    """Name one group per output channel of a kernel: everything that one unit or filter reads with.

    For the kernels of Flax's Dense (in, out), Conv and ConvTranspose (…, in, out): the last axis. A
    ConvTranspose with `transpose_kernel=True` holds (…, out, in): take `input_channels` there. A
    zero group is an output that is constant, its bias.

    >>> import jax.numpy as jnp, l1jax
    >>> kernel = jnp.array([[3.0, 0.1], [4.0, 0.1]])  # (in, out): its columns
    >>> l1jax.group_l1(0.5**0.5, l1jax.output_channels()).prox(kernel, 1.0).round(1)
    Array([[2.4, 0. ],
           [3.2, 0. ]], dtype=float32)
    """
    return Channels(-1, "output_channels", 2)


def input_channels() -> Channels:
    """Name one group per input channel of a kernel: everything that is read from it.

    For the kernels of Flax's Dense (in, out), Conv and ConvTranspose (…, in, out): the last axis but
    one. A zero group means that the layer ignores that channel; with `feature_group_count` > 1 the
    axis counts channels within a feature group, so there it is not one channel.

    >>> import jax.numpy as jnp, l1jax
    >>> kernel = jnp.array([[3.0, 4.0], [0.1, 0.1]])  # (in, out): its rows
    >>> l1jax.group_l1(0.5**0.5, l1jax.input_channels()).prox(kernel, 1.0).round(1)
    Array([[2.4, 3.2],
           [0. , 0. ]], dtype=float32)
    """
    return Channels(-2, "input_channels", 2)


def scales() -> Channels:
    """Name one group per entry of a norm layer's scale γ (channels,): each switches one channel off.

    >>> import jax.numpy as jnp, l1jax
    >>> l1jax.group_l1(1.0, l1jax.scales()).prox(jnp.array([3.0, 0.1]), 1.0).round(1)
    Array([2., 0.], dtype=float32)
    """
    return Channels(-1, "scales", 1, 1)


def kernel_blocks(shape: tuple[int, ...]) -> Blocks:
    """Name one group per block of `shape` over the kernel's last axes; −1 means the whole axis.

    Axes in front of them are 1 long in a block, so `(16, 16)` cuts every spatial position of a Conv
    kernel into blocks of its own, and `(-1, -1, 16, 16)` makes no difference between positions.

    On a mesh of explicit axes each device should have whole blocks, or one block all devices: then nothing
    but sums is exchanged. Otherwise every device computes with the whole of that axis.

    Args:
        shape: the lengths of a block, each ≥ 1 or −1; they must divide the kernel's.

    Raises:
        ValueError: if `shape` is empty or a length is neither positive nor −1; and, when it meets a
            kernel, if that has fewer axes or a length is not divisible.

    >>> import jax.numpy as jnp, l1jax
    >>> kernel = jnp.array([[3.0, 3.0, 0.1, 0.1], [3.0, 3.0, 0.1, 0.1]])
    >>> l1jax.group_l1(0.5, l1jax.kernel_blocks((2, 2))).prox(kernel, 1.0).tolist()
    [[2.5, 2.5, 0.0, 0.0], [2.5, 2.5, 0.0, 0.0]]
    """
    try:
        lengths = tuple(operator.index(length) for length in shape)
    except TypeError:
        lengths = ()
    if not lengths or any(length < 1 and length != -1 for length in lengths):
        raise ValueError(
            f"`shape` (={shape!r}) must be a tuple of at least one length, each at least 1, or -1 for a whole axis, "
            "such as (16, 16)."
        )
    return Blocks(lengths)


def as_groups(axis: Any) -> Groups:
    """What was given as `axis`, hashable; refuse anything that names no groups."""
    if isinstance(axis, Channels | Blocks):
        return axis
    try:
        return (
            tuple(operator.index(a) for a in axis)
            if isinstance(axis, tuple | list)
            else operator.index(axis)
        )
    except TypeError:
        raise ValueError(
            f"`axis` (={axis!r}) must be an integer, a tuple of them, or one of output_channels(), input_channels(), "
            "kernel_blocks(shape), scales()."
        ) from None


def group_axes(groups: Groups, shape: tuple[int, ...], path: str = "the array") -> tuple[int, ...]:
    """The axes over which a group of an array of this shape extends, ascending; not for blocks.

    Raises:
        ValueError: if an axis is out of range or named twice, or the array has not the axes of a kernel.
    """
    ndim = len(shape)
    if isinstance(groups, Whole):
        return tuple(range(ndim))
    if isinstance(groups, Channels):
        if not groups.least_axes <= ndim <= (groups.most_axes or ndim):
            wanted = (
                "exactly 1 axis" if groups.most_axes == 1 else f"at least {groups.least_axes} axes"
            )
            raise ValueError(
                f"`axis` (={groups.name}()) must meet arrays of {wanted}, but {path} has the shape {shape}; choose the "
                "leaves by `by_path`."
            )
        return tuple(a for a in range(ndim) if a != ndim + groups.axis)
    assert not isinstance(groups, Blocks)
    axes = groups if isinstance(groups, tuple) else (groups,)
    if any(not -ndim <= a < ndim for a in axes):
        wanted = f"be in [{-ndim}, {ndim - 1}] for" if ndim else "name axes, but there are none in"
        raise ValueError(
            f"`axis` (={groups}) must {wanted} {path} of shape {shape}; choose the leaves by `by_path`."
        )
    if len({a % ndim for a in axes}) < len(axes):
        raise ValueError(f"`axis` (={groups}) must name each axis of {path} of shape {shape} once.")
    return tuple(sorted(a % ndim for a in axes))


def layout(
    groups: Groups, shape: tuple[int, ...], path: str = "the array"
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape for the same entries in which every group extends over whole axes, and these axes.

    Blocks become axes of their own: (count, length) for each axis of the kernel.
    """
    if not isinstance(groups, Blocks):
        return shape, group_axes(groups, shape, path)
    given = (1,) * (len(shape) - len(groups.shape)) + groups.shape
    lengths = tuple(max(n, 1) if b == -1 else b for n, b in zip(shape, given, strict=False))
    if len(given) > len(shape) or any(n % b for n, b in zip(shape, lengths, strict=True)):
        raise ValueError(
            f"`kernel_blocks` of shape {groups.shape} must divide {path} of shape {shape}; choose lengths that do, or "
            "-1 for a whole axis."
        )
    pairs = tuple((n // b, b) for n, b in zip(shape, lengths, strict=True))
    return tuple(n for pair in pairs for n in pair), tuple(range(1, 2 * len(shape), 2))


def to_layout(x: Array, shape: tuple[int, ...]) -> Array:
    """An array in the layout of its groups. On an explicit mesh, axes that are cut keep their devices.

    Where devices would have parts of a block, they all get that axis as a whole.
    """
    if x.shape == shape or not _on_explicit_mesh(x):
        return x.reshape(shape)
    sharding = jax.typeof(x).sharding
    before: list[Any] = []
    after: list[Any] = []
    for axes, (count, length) in zip(
        sharding.spec, zip(shape[::2], shape[1::2], strict=True), strict=True
    ):
        devices = _devices(sharding.mesh, axes)
        whole_blocks = count % devices == 0
        part_of_one = count == 1 and length % devices == 0
        before.append(axes if whole_blocks or part_of_one else None)
        after += [
            axes if whole_blocks else None,
            axes if part_of_one and not whole_blocks else None,
        ]
    x = jax.sharding.reshard(x, NamedSharding(sharding.mesh, PartitionSpec(*before)))
    return jnp.reshape(x, shape, out_sharding=NamedSharding(sharding.mesh, PartitionSpec(*after)))


def from_layout(y: Array, like: Array) -> Array:
    """An array in the layout of its groups, back in the shape of `like`, and on its devices."""
    if y.shape == like.shape or not _on_explicit_mesh(like):
        return y.reshape(like.shape)
    sharding = jax.typeof(like).sharding
    inner = [
        count or length
        for count, length in zip(*[iter(jax.typeof(y).sharding.spec)] * 2, strict=True)
    ]
    y = jnp.reshape(y, like.shape, out_sharding=NamedSharding(sharding.mesh, PartitionSpec(*inner)))
    return jax.sharding.reshard(y, sharding)


def _on_explicit_mesh(x: Array) -> bool:
    return bool(jax.typeof(x).sharding.mesh.explicit_axes)


def _devices(mesh: Any, axes: Any) -> int:
    """Over how many devices these axes of a mesh spread an axis of an array."""
    names = axes if isinstance(axes, tuple) else (axes,)
    return math.prod(mesh.shape[name] for name in names if name is not None)


def lay_out(array: Array, shape: tuple[int, ...], laid_out: tuple[int, ...]) -> Array:
    """An array that broadcasts to `shape` in its layout; length-1 axes stay so where axes are not cut."""
    if array.size == 1:
        return array.reshape(())
    if shape == laid_out:
        return array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    return to_layout(jnp.broadcast_to(array, shape), laid_out)
