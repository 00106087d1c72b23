"""Groups of entries that lie in several leaves: where they are, and sums over each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from l1jax.annotations import Array, Float, PyTree
from l1jax.penalties.hidden_leaves import find_hidden_leaves
from l1jax.penalties.numerics import Leaf, upcast
from l1jax.penalties.sparsity import path_name, show_paths


class Slices(NamedTuple):
    """The slices of one leaf along an axis, and the group that each of them belongs to.

    Attributes:
        axis: the axis whose indices number the slices; negative ones are counted from the last.
        groups: the group of each index from 0 on, −1 for a slice in no group; None for one group
            per index.
    """

    axis: int
    groups: tuple[int, ...] | None = None


Family = tuple[tuple[str, Slices], ...]
"""Groups of one kind, such as the units of a layer: the path of each leaf, and its slices."""
FamilyMapping = Mapping[str, int | Slices]
"""The same as a user gives it: path → axis, with one group per index, or path → slices."""


def as_families(groups: object) -> tuple[Family, ...]:
    """Return groups as they are stored: tuples, in the order in which they were given.

    Raises:
        ValueError: if they are not mappings from paths to axes or slices.
    """
    mappings = [groups] if isinstance(groups, Mapping) else groups
    if not isinstance(mappings, Sequence) or not mappings:
        raise ValueError(
            f"`groups` (={groups!r}) must be mappings from a leaf's path to the axis that numbers "
            "its groups, such as [{'up/kernel': -1, 'down/kernel': 0}]."
        )
    return tuple(_as_family(mapping) for mapping in mappings)


def _as_family(mapping: object) -> Family:
    if not isinstance(mapping, Mapping) or not mapping:
        raise ValueError(
            f"`groups` has {mapping!r}, which must be a mapping from a leaf's path to an axis, "
            "such as {'up/kernel': -1, 'down/kernel': 0}."
        )
    members: list[tuple[str, Slices]] = []
    for path, slices in mapping.items():
        if isinstance(slices, int | np.integer) and not isinstance(slices, bool):
            slices = Slices(int(slices))
        if not isinstance(path, str) or not isinstance(slices, Slices):
            raise ValueError(
                f"`groups` has {path!r}: {slices!r}, which must be a path and an axis, or a path "
                "and `l1jax.Slices`."
            )
        if slices.groups is not None:
            numbers = np.asarray(slices.groups)
            if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
                raise ValueError(
                    f"`groups` has {slices!r} for {path!r}, whose groups must be whole numbers, "
                    "one per index, −1 for none."
                )
            slices = Slices(slices.axis, tuple(numbers.tolist()))
        members.append((path.removeprefix("params/"), slices))
    return tuple(members)


@dataclass(frozen=True, eq=False)
class Plan:
    """Where the groups are in one tree. Two plans are equal only if they are the same object."""

    axes: dict[int, int]
    """The axis of each leaf that has groups, by its position in the tree."""
    groups: dict[int, np.ndarray]
    """The group of each index of that axis, numbered through all families; −1 for none."""
    names: dict[int, str]
    """The path of each of these leaves."""
    count: int
    """The number of groups."""


def make_plan(families: tuple[Family, ...], tree: PyTree) -> Plan:
    """Find the groups in a tree.

    Raises:
        ValueError: if a leaf is not there, does not have the axis or its length, or two groups
            overlap.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    positions = {path_name(path): i for i, (path, _) in enumerate(leaves)}
    names = {i: path_name(path) for i, (path, _) in enumerate(leaves)}
    plan = Plan({}, {}, names, 0)
    first = 0
    for family in families:
        _check_paths([path for path, _ in family], positions, tree)
        numbers = {}
        for path, slices in family:
            shape = jnp.shape(leaves[positions[path]][1])
            numbers[path] = _group_numbers(path, slices, shape)
        _check_lengths(family, numbers)
        for path, slices in family:
            shape = jnp.shape(leaves[positions[path]][1])
            own = np.where(numbers[path] < 0, -1, numbers[path] + first)
            _add_slices(plan, positions[path], slices.axis % len(shape), own)
        first += max((int(own.max(initial=-1)) + 1 for own in numbers.values()), default=0)
    return Plan(plan.axes, plan.groups, plan.names, first)


def _check_paths(paths: Sequence[str], positions: Mapping[str, int], tree: PyTree) -> None:
    missing = [path for path in paths if path not in positions]
    if not missing:
        return
    if find_hidden_leaves(tree).is_masked:
        raise ValueError(
            f"`groups` has {show_paths(missing)}, which `optax.masked` or `partition` hides here: "
            "all leaves of a group must be in the same part; give the penalty to the optimiser of "
            "all of them."
        )
    raise ValueError(
        f"`groups` has {show_paths(missing)}, which must be paths of parameters; these are "
        f"{show_paths(list(positions))}."
    )


def _group_numbers(path: str, slices: Slices, shape: tuple[int, ...]) -> np.ndarray:
    """Return the group of each index of the axis of a leaf, numbered in its family."""
    place = path or "the array"
    if not -len(shape) <= slices.axis < len(shape):
        raise ValueError(
            f"`groups` has axis {slices.axis} of {place}, but its shape is {shape}; give one of "
            "its axes."
        )
    length = shape[slices.axis]
    if slices.groups is None:
        return np.arange(length)
    if len(slices.groups) != length:
        raise ValueError(
            f"`groups` has {len(slices.groups)} group numbers for axis {slices.axis} of {place}, "
            f"but its shape is {shape}; give {length}, one per index."
        )
    return np.asarray(slices.groups)


def _check_lengths(family: Family, numbers: Mapping[str, np.ndarray]) -> None:
    """Raise if axes that number the same groups by their indices have different lengths."""
    lengths = {path: len(numbers[path]) for path, slices in family if slices.groups is None}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"`groups` has one group per index of axes of different lengths ({lengths}); axes that "
            "number the same groups must be equally long, or say by `Slices` which index belongs "
            "to which group."
        )


def _add_slices(plan: Plan, leaf: int, axis: int, groups: np.ndarray) -> None:
    if leaf not in plan.axes:
        plan.axes[leaf] = axis
        plan.groups[leaf] = groups
        return
    before = plan.groups[leaf]
    same_axis = plan.axes[leaf] == axis
    if not same_axis or np.any((before >= 0) & (groups >= 0)):
        raise ValueError(
            f"`groups` has entries of {plan.names[leaf] or 'the array'} in two groups; the prox of "
            "groups that overlap has no exact form. Leave the leaf, or these slices, out of one."
        )
    plan.groups[leaf] = np.maximum(before, groups)


@dataclass(frozen=True, eq=False)
class GroupSums:
    """Sums over the entries of each group, for the leaves that are given, in their order."""

    shapes: tuple[tuple[int, ...], ...]
    axes: tuple[int, ...]
    groups: tuple[np.ndarray, ...]
    count: int

    @classmethod
    def of(cls, plan: Plan, leaves: Sequence[int], arrays: Sequence[Leaf]) -> "GroupSums":
        """Take the leaves at these positions of the plan's tree, of which only shapes count.

        Args:
            plan: where the groups are.
            leaves: the positions.
            arrays: the leaves there, or anything of their shapes.
        """
        return cls(
            tuple(jnp.shape(array) for array in arrays),
            tuple(plan.axes[leaf] for leaf in leaves),
            tuple(plan.groups[leaf] for leaf in leaves),
            plan.count,
        )

    def sizes(self) -> Float[np.ndarray, " groups"]:
        """Return the number of entries of each group."""
        sizes = np.zeros(self.count)
        for shape, axis, groups in zip(self.shapes, self.axes, self.groups, strict=True):
            entries = np.prod(shape) / max(shape[axis], 1)
            sizes += entries * np.bincount(groups[groups >= 0], minlength=self.count)
        return sizes

    def total(self, arrays: Sequence[Array]) -> Float[Array, " groups"]:
        """Add up the entries of each group, over all leaves; entries in no group are left out.

        Of an array that is spread over devices only the sums along its axis are exchanged.
        """
        dtype = jnp.result_type(*arrays)
        totals = jnp.zeros(self.count, dtype)
        for array, shape, axis, groups in zip(
            arrays, self.shapes, self.axes, self.groups, strict=True
        ):
            array = jnp.broadcast_to(array, shape)
            others = tuple(other for other in range(len(shape)) if other != axis)
            sums = _on_every_device(jnp.sum(array, axis=others)).astype(dtype)
            totals += self._to_groups(sums, groups)
        return totals

    def _to_groups(self, sums: Array, groups: np.ndarray) -> Array:
        if _is_range(groups):
            first = int(groups[0])
            return jnp.pad(sums, (first, self.count - first - len(groups)))
        place = np.where(groups < 0, self.count, groups)  # beyond the end: left out
        return jnp.zeros(self.count, sums.dtype).at[place].add(sums, mode="drop")

    def spread(self, numbers: Array, fill: float = 0) -> list[Array]:
        """Return the number of each entry's group, in an array that broadcasts to its leaf.

        Args:
            numbers: a number per group.
            fill: what entries in no group get.
        """
        spread = []
        for shape, axis, groups in zip(self.shapes, self.axes, self.groups, strict=True):
            if _is_range(groups):
                own = jax.lax.slice_in_dim(numbers, int(groups[0]), int(groups[-1]) + 1)
            elif self.count:
                given = numbers[np.maximum(groups, 0)]
                own = jnp.where(groups < 0, jnp.asarray(fill, numbers.dtype), given)
            else:
                own = jnp.full(groups.shape, fill, numbers.dtype)
            sizes = [1] * len(shape)
            sizes[axis] = shape[axis]
            spread.append(own.reshape(sizes))
        return spread

    def in_groups(self) -> list[np.ndarray]:
        """Tell for each entry whether it is in a group, in arrays that broadcast to the leaves."""
        found = []
        for shape, axis, groups in zip(self.shapes, self.axes, self.groups, strict=True):
            sizes = [1] * len(shape)
            sizes[axis] = shape[axis]
            found.append((groups >= 0).reshape(sizes))
        return found

    def norm(self, arrays: Sequence[Array]) -> Float[Array, " groups"]:
        """Return ‖x‖ of each group; it is differentiable at 0, where its gradient is 0."""
        square = self.total([jnp.square(upcast(array)) for array in arrays])
        return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), square)


def _is_range(groups: np.ndarray) -> bool:
    """Tell whether neighbouring indices belong to neighbouring groups, all of them to one."""
    return bool(groups.size) and groups[0] >= 0 and bool(np.all(np.diff(groups) == 1))


def _on_every_device(vector: Array) -> Array:
    """Give every device of a mesh of explicit axes the whole vector."""
    if not jax.typeof(vector).sharding.mesh.explicit_axes:
        return vector
    return jax.sharding.reshard(vector, PartitionSpec())
