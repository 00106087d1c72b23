"""Groups of a parameter's entries: by axes, or by the names that a Flax kernel's axes have.

The functions of group penalties work on an array in the layout of its groups: the same entries in a
shape in which every group extends over whole axes, so that reducing over these axes gives one
number per group. Only blocks change the shape, to (count, length) for each axis of the kernel.
"""

import math
import operator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from l1jax.annotations import Array
from l1jax.penalties.channels import Channels, channel_axes


@dataclass(frozen=True)
class Blocks:
    """One group per block of this shape, over the last axes; made by `kernel_blocks`."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class WholeLeaf:
    """One group, the whole leaf: the group of `linf` and `l1_ball`."""


@dataclass(frozen=True)
class LastAxes:
    """One group per index of the axes before the last so many: the matrices of `nuclear_norm`."""

    count: int


Groups: TypeAlias = int | tuple[int, ...] | Channels | Blocks | WholeLeaf | LastAxes
"""Axes to reduce over, one group per remaining index; or groups by name."""


class GroupLayout(NamedTuple):
    """Where the groups of an array are."""

    shape: tuple[int, ...]  # of the array in the layout of its groups
    axes: tuple[int, ...]  # the axes of that shape over which a group extends


def kernel_blocks(shape: tuple[int, ...]) -> Blocks:
    """Name one group per block of `shape` over the kernel's last axes; −1 means the whole axis.

    A block is 1 long along the axes in front of them, so `(16, 16)` cuts every spatial position of
    a Conv kernel into its own blocks, while the blocks of `(-1, -1, 16, 16)` cover all positions.

    On a mesh of explicit axes each device should hold whole blocks, or a single block should cover
    all devices: then only sums are exchanged. Otherwise every device computes the whole axis.

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
            f"`shape` (={shape!r}) must be a tuple of at least one length, each at least 1, or -1 "
            "for a whole axis, such as (16, 16)."
        )
    return Blocks(lengths)


def as_groups(axis: object) -> Groups:
    """Return what was given as `axis` in a form that can be hashed.

    Raises:
        ValueError: if it names no groups.
    """
    if isinstance(axis, Channels | Blocks):
        return axis
    try:
        if isinstance(axis, tuple | list):
            return tuple(operator.index(a) for a in axis)
        return operator.index(axis)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise ValueError(
            f"`axis` (={axis!r}) must be an integer, a tuple of them, or one of output_channels(), "
            "input_channels(), kernel_blocks(shape), scales()."
        ) from None


def group_axes(groups: Groups, shape: tuple[int, ...], path: str = "the array") -> tuple[int, ...]:
    """Return the axes over which a group extends, ascending; blocks have none before their layout.

    Args:
        groups: any groups but blocks.
        shape: the shape of the array.
        path: the name of the array, for errors.

    Raises:
        ValueError: if an axis is out of range or is named twice, or if the array does not have the
            axes of a kernel.
    """
    ndim = len(shape)
    if isinstance(groups, WholeLeaf):
        return tuple(range(ndim))
    if isinstance(groups, LastAxes):
        return tuple(range(max(ndim - groups.count, 0), ndim))
    if isinstance(groups, Channels):
        return channel_axes(groups, shape, path)
    assert not isinstance(groups, Blocks)
    axes = groups if isinstance(groups, tuple) else (groups,)
    if any(not -ndim <= a < ndim for a in axes):
        required = f"be in [{-ndim}, {ndim - 1}] for"
        if not ndim:
            required = "name axes, but there are none in"
        raise ValueError(
            f"`axis` (={groups}) must {required} {path} of shape {shape}; choose the leaves by "
            "`by_path`."
        )
    if len({a % ndim for a in axes}) < len(axes):
        raise ValueError(f"`axis` (={groups}) must name each axis of {path} of shape {shape} once.")
    return tuple(sorted(a % ndim for a in axes))


def group_layout(groups: Groups, shape: tuple[int, ...], path: str = "the array") -> GroupLayout:
    """Find a shape for the same entries in which every group extends over whole axes.

    Blocks become axes of their own: (count, length) for each axis of the kernel. With any other
    groups the shape stays.

    Args:
        groups: the groups.
        shape: the shape of the array.
        path: the name of the array, for errors.

    Returns:
        The shape, and the axes of it over which a group extends.

    Raises:
        ValueError: if the array does not have these groups.
    """
    if not isinstance(groups, Blocks):
        return GroupLayout(shape, group_axes(groups, shape, path))
    given = (1,) * (len(shape) - len(groups.shape)) + groups.shape
    lengths = tuple(max(n, 1) if b == -1 else b for n, b in zip(shape, given, strict=False))
    if len(given) > len(shape) or any(n % b for n, b in zip(shape, lengths, strict=True)):
        raise ValueError(
            f"`kernel_blocks` of shape {groups.shape} must divide {path} of shape {shape}; choose "
            "lengths that do, or -1 for a whole axis."
        )
    laid_out: list[int] = []
    for n, length in zip(shape, lengths, strict=True):
        laid_out += [n // length, length]
    return GroupLayout(tuple(laid_out), tuple(range(1, 2 * len(shape), 2)))


def to_layout(x: Array, shape: tuple[int, ...]) -> Array:
    """Reshape an array to the layout of its groups.

    On a mesh of explicit axes, an axis that is cut into blocks keeps its devices where each of them
    has whole blocks or all of them share one. Otherwise every device gets the whole axis.
    """
    if x.shape == shape or not on_explicit_mesh(x):
        return x.reshape(shape)
    sharding = jax.typeof(x).sharding
    before: list[MeshAxes] = []
    after: list[MeshAxes] = []
    pairs = zip(shape[::2], shape[1::2], strict=True)
    for axes, (count, length) in zip(sharding.spec, pairs, strict=True):
        devices = _num_devices(sharding.mesh, axes)
        if count % devices == 0:  # every device has whole blocks
            before.append(axes)
            after += [axes, None]
        elif count == 1 and length % devices == 0:  # all devices share one block
            before.append(axes)
            after += [None, axes]
        else:
            before.append(None)
            after += [None, None]
    x = jax.sharding.reshard(x, NamedSharding(sharding.mesh, PartitionSpec(*before)))
    return jnp.reshape(x, shape, out_sharding=NamedSharding(sharding.mesh, PartitionSpec(*after)))


def from_layout(y: Array, like: Array) -> Array:
    """Reshape an array in the layout of its groups back to that of `like`, on the same devices."""
    if y.shape == like.shape or not on_explicit_mesh(like):
        return y.reshape(like.shape)
    sharding = jax.typeof(like).sharding
    laid_out = jax.typeof(y).sharding.spec
    pairs = zip(laid_out[::2], laid_out[1::2], strict=True)
    joined = PartitionSpec(*(count or length for count, length in pairs))
    y = jnp.reshape(y, like.shape, out_sharding=NamedSharding(sharding.mesh, joined))
    return jax.sharding.reshard(y, sharding)


def broadcast_to_layout(array: Array, shape: tuple[int, ...], laid_out: tuple[int, ...]) -> Array:
    """Bring an array that broadcasts to `shape` to something that broadcasts to the layout.

    Args:
        array: the array; its axes of length 1 stay so where no axis is cut into blocks.
        shape: the shape of the leaf that it belongs to.
        laid_out: the shape of that leaf in the layout of its groups.
    """
    if array.size == 1:
        return array.reshape(())
    if shape == laid_out:
        return array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    return to_layout(jnp.broadcast_to(array, shape), laid_out)


MeshAxes: TypeAlias = str | tuple[str, ...] | None
"""The axes of a mesh that one axis of an array is spread over."""


def on_explicit_mesh(x: Array) -> bool:
    """Tell whether the devices that hold an array are a part of its type."""
    return bool(jax.typeof(x).sharding.mesh.explicit_axes)


def _num_devices(mesh: Mesh | AbstractMesh, axes: MeshAxes) -> int:
    """Return over how many devices these axes of a mesh spread an axis of an array."""
    names = axes if isinstance(axes, tuple) else (axes,)
    return math.prod(mesh.shape[name] for name in names if name is not None)
