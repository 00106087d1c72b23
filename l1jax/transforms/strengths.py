"""The strength in force: part of every transformation's state, readable, and scaled by a chain.

Each transformation multiplies its penalty's strengths by a scale, and that scale is itself the
output of an optax transformation: `state.scale` goes in (1 unless you set it), and what comes out
is used. So `optax.scale_by_schedule`, `track_sparsity` and `reweight` can all change the strength,
and `optax.chain` combines them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from l1jax.annotations import Array, ArrayLike, Float, PyTree
from l1jax.penalties import (
    Penalty,
    check_number,
    check_penalty,
    leaf_penalties,
    penalty_groups,
    scaled,
    strengths,
)
from l1jax.penalties.coupled_leaves import is_coupled, penalty_name

Scale = float | Array | optax.Schedule | optax.GradientTransformation | None
"""What multiplies every strength of a penalty; None for 1."""


class StrengthState(NamedTuple):
    """The part that the states of all l1jax transformations with a penalty share."""

    scale: Float[Array, ""]  # set by the user: multiplies every strength of the penalty
    control: optax.OptState  # state of the transformation of the scale
    value: tuple[Float[Array, "..."], ...]  # the strengths of the last update, all factors included


class Strength(NamedTuple):
    """A penalty together with the transformation of its scale, as the transformations use it."""

    penalty: Penalty
    control: optax.GradientTransformation

    def init(self, params: PyTree) -> StrengthState:
        """Check that the penalty fits `params`, and start with the scale 1."""
        control = self.control.init(_penalised_leaves(self.penalty, params))
        return StrengthState(jnp.ones([], float), control, _scaled_strengths(self.penalty, 1.0))

    def check(self, params: PyTree) -> None:
        """Raise unless the penalty fits the parameters."""
        leaf_penalties(self.penalty, params)

    def update(
        self, state: StrengthState, params: PyTree
    ) -> tuple[list[Penalty | None], StrengthState]:
        """Return the penalty of each leaf at the strength of this update, None for free leaves."""
        scale, state = self.next_scale(state, params)
        return self.penalties(scale, params), state

    def next_scale(self, state: StrengthState, params: PyTree) -> tuple[PyTree, StrengthState]:
        """Return the scale of this update: a number, or a tree of one per penalised entry."""
        penalised = _penalised_leaves(self.penalty, params)
        scale, control = self.control.update(state.scale, state.control, penalised)
        values = _scaled_strengths(self.penalty, _mean(scale))
        return scale, StrengthState(state.scale, control, values)

    def penalties(self, scale: PyTree, params: PyTree) -> list[Penalty | None]:
        """Return the penalty of each leaf at this scale, None for free leaves."""
        penalised = _penalised_leaves(self.penalty, params)
        scales = iter(jax.tree.leaves(jax.tree.broadcast(scale, penalised)))
        return [
            None if penalty is None else _scale_leaf_penalty(penalty, next(scales))
            for penalty in leaf_penalties(self.penalty, params)
        ]


def bind_strength(penalty: PyTree, scale: Scale) -> Strength:
    """Put a penalty together with what scales its strength.

    Raises:
        ValueError: if `penalty` is no penalty, if it has no strength that `scale` could multiply,
            or if `scale` is negative or not finite.
    """
    check_penalty("penalty", penalty)
    if scale is not None and not strengths(penalty):
        raise ValueError(
            f"`scale` (={scale!r}) has no strength to move in `penalty` (={penalty!r})."
        )
    if isinstance(scale, optax.GradientTransformation):
        return Strength(penalty, scale)
    if scale is None:
        return Strength(penalty, optax.identity())
    if callable(scale):
        return Strength(penalty, optax.scale_by_schedule(scale))
    check_number(
        "scale", scale, remedy="or a schedule, or an optax transformation such as `track_sparsity`"
    )
    return Strength(penalty, optax.scale(scale))


def strength(opt_state: optax.OptState) -> Array | tuple[Array, ...]:
    """Read the strength that the last update used, every schedule and controller included.

    Args:
        opt_state: the state of a chain with l1jax transformations, however deeply wrapped.

    Returns:
        One number if there is one strength; a tuple, in the order in which they were given, if the
        penalty has several (`by_path`, `elastic_net`) or the chain has several penalties. Before
        the first update it is the strength that the penalty was made with. With `reweight` it is
        the mean over the entries.

    Raises:
        ValueError: if no part of the state belongs to an l1jax transformation.

    >>> import jax.numpy as jnp, l1jax, optax
    >>> tx = l1jax.proximal_sgd(0.1, l1jax.l1(0.5), scale=optax.linear_schedule(0.0, 1.0, 4))
    >>> state = tx.init(jnp.ones(3))
    >>> for _ in range(3):  # counts 0, 1 and 2: the third uses half of 0.5
    ...     _, state = tx.update(jnp.zeros(3), state, jnp.ones(3))
    >>> float(l1jax.strength(state))
    0.25
    """
    states = _strength_states(opt_state)
    values = [value for state in states for value in jax.tree.leaves(state.value)]
    if len(values) == 1:
        return values[0]
    return tuple(values)


def set_scale(opt_state: optax.OptState, scale: ArrayLike) -> optax.OptState:
    """Multiply every strength by `scale` from the next update on; schedules multiply it further.

    A `vmap` over this function trains a whole path of strengths in one program.

    Args:
        opt_state: the state of a chain with l1jax transformations, however deeply wrapped.
        scale: replaces the scale in the state, which is 1 after `init`; radii, γ and weights do
            not change.

    Raises:
        ValueError: if the scale is negative or not finite, or no part of the state belongs to an
            l1jax transformation.

    >>> import jax, jax.numpy as jnp, l1jax
    >>> tx, params = l1jax.proximal_sgd(1.0, l1jax.l1(0.5)), jnp.array([2.0, -1.0])
    >>> def step(scale):
    ...     updates, _ = tx.update(jnp.zeros(2), l1jax.set_scale(tx.init(params), scale), params)
    ...     return params + updates
    >>> jax.vmap(step)(jnp.array([0.0, 1.0, 2.0])).tolist()
    [[2.0, -1.0], [1.5, -0.5], [1.0, 0.0]]
    """
    check_number("scale", scale)
    _strength_states(opt_state)  # raises if there is none

    def replace_scale(node: PyTree) -> PyTree:
        if not _is_strength(node):
            return node
        new = jax.tree.map(lambda old: jnp.asarray(scale, old.dtype), node.scale)
        return node._replace(scale=new)

    return jax.tree.map(replace_scale, opt_state, is_leaf=_is_strength)


def has_strength(opt_state: optax.OptState) -> bool:
    """Tell whether any part of a state belongs to an l1jax transformation with a penalty."""
    return any(map(_is_strength, jax.tree.leaves(opt_state, is_leaf=_is_strength)))


def _strength_states(opt_state: optax.OptState) -> list[StrengthState]:
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_strength)
    states = [node for node in nodes if _is_strength(node)]
    if not states:
        raise ValueError(
            f"`opt_state` (={type(opt_state).__name__}) must come from a chain with an l1jax "
            "transformation that has a penalty, such as `l1jax.proximal_adam`."
        )
    return states


def _is_strength(node: PyTree) -> bool:
    return isinstance(node, StrengthState)


def _penalised_leaves(penalty: Penalty, params: PyTree) -> PyTree:
    """Return the parameters with None, an empty subtree, in place of the free leaves."""
    leaves, treedef = jax.tree.flatten(params)
    pairs = zip(leaf_penalties(penalty, params), leaves, strict=True)
    return treedef.unflatten([leaf if leaf_penalty else None for leaf_penalty, leaf in pairs])


def _scale_leaf_penalty(penalty: Penalty, scale: ArrayLike) -> Penalty:
    if jnp.ndim(scale) and (is_coupled(penalty) or penalty_groups(penalty) is not None):
        raise ValueError(
            f"`scale` (of shape {jnp.shape(scale)}) must be one number for "
            f"{penalty_name(penalty)}, whose strength belongs to groups, not to entries; "
            "`reweight` is for penalties of single entries such as `l1`."
        )
    return scaled(penalty, scale)


def _scaled_strengths(penalty: Penalty, scale: ArrayLike) -> tuple[Array, ...]:
    return tuple(jnp.asarray(strength, float) * scale for strength in strengths(penalty))


def _mean(scale: PyTree) -> Array:
    """Return the mean over all entries of a tree."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(scale)]
    size = max(sum(leaf.size for leaf in leaves), 1)
    return jnp.asarray(sum(jnp.sum(leaf) for leaf in leaves) / size, float)
