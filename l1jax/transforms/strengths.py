"""The strength in force: part of every transformation's state, readable, and moved by an optax chain.

Each transformation multiplies its penalty's strengths by a scale, and that scale is itself the
output of an optax transformation: `state.scale` goes in (1 unless you set it), what comes out is
used. So `optax.scale_by_schedule`, `track_sparsity` and `reweight` all move the strength, and
`optax.chain` combines them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, PyTree

from l1jax.penalties import Penalty, check_number, check_penalty, leaf_penalties, scaled

Scale = float | Array | optax.Schedule | optax.GradientTransformation | None


class StrengthState(NamedTuple):
    """The part that all l1jax transformations' states share."""

    scale: Float[Array, ""]  # what the user sets: multiplies every strength of the penalty
    control: optax.OptState  # state of the transformation that moves the scale
    value: tuple[
        Float[Array, "..."], ...
    ]  # the penalty's strengths at the last update, all factors included


class Strength(NamedTuple):
    """A penalty together with what moves its strength; used by the transformations alone."""

    penalty: Penalty
    control: optax.GradientTransformation

    def init(self, params: PyTree) -> StrengthState:
        """Check that the penalty fits `params`; the scale starts at 1."""
        penalised = _penalised(self.penalty, params)
        return StrengthState(
            jnp.ones([], float), self.control.init(penalised), _strengths(self.penalty, 1.0)
        )

    def check(self, params: PyTree) -> None:
        """Refuse parameters that the penalty does not fit."""
        leaf_penalties(self.penalty, params)

    def update(
        self, state: StrengthState, params: PyTree
    ) -> tuple[list[Penalty | None], StrengthState]:
        """The penalty of each leaf with the strength of this update, None for free leaves."""
        scale, state = self.move(state, params)
        return self.penalties(scale, params), state

    def move(self, state: StrengthState, params: PyTree) -> tuple[PyTree, StrengthState]:
        """The scale of this update: a number, or a tree of one per penalised entry."""
        scale, control = self.control.update(
            state.scale, state.control, _penalised(self.penalty, params)
        )
        return scale, StrengthState(state.scale, control, _strengths(self.penalty, _mean(scale)))

    def penalties(self, scale: PyTree, params: PyTree) -> list[Penalty | None]:
        """The penalty of each leaf at this scale, None for free leaves."""
        scales = iter(jax.tree.leaves(jax.tree.broadcast(scale, _penalised(self.penalty, params))))
        return [p and _scaled(p, next(scales)) for p in leaf_penalties(self.penalty, params)]


def moved_by(penalty: Any, scale: Scale) -> Strength:
    """Let a schedule, a number or a transformation of the number 1 move a penalty's strength."""
    check_penalty("penalty", penalty)
    if scale is not None and not _strengths(penalty, 1.0):
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


def strength(opt_state: optax.OptState) -> Any:
    """Read the strength that the last update used, every schedule and controller included.

    Args:
        opt_state: the state of a chain with l1jax transformations, however deeply wrapped.

    Returns:
        One number if there is one strength; a tuple, in the order in which they were given, if the
        penalty has several (`by_path`, `elastic_net`) or the chain several penalties. Before the
        first update the penalty's own. Where `reweight` is at work, the mean over the entries.

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
    values = [value for state in _states(opt_state) for value in jax.tree.leaves(state.value)]
    return values[0] if len(values) == 1 else tuple(values)


def set_scale(opt_state: optax.OptState, scale: ArrayLike) -> optax.OptState:
    """Multiply every strength by `scale` from the next update on; schedules multiply it further.

    A `vmap` over it trains a whole path of strengths in one program.

    Args:
        opt_state: the state of a chain with l1jax transformations, however deeply wrapped.
        scale: replaces the scale in the state, 1 after `init`; radii, γ and weights do not change.

    Raises:
        ValueError: if the scale is negative or not finite, or no part of the state belongs to an l1jax
            transformation.

    >>> import jax, jax.numpy as jnp, l1jax
    >>> tx, params = l1jax.proximal_sgd(1.0, l1jax.l1(0.5)), jnp.array([2.0, -1.0])
    >>> def step(scale):
    ...     updates, _ = tx.update(jnp.zeros(2), l1jax.set_scale(tx.init(params), scale), params)
    ...     return params + updates
    >>> jax.vmap(step)(jnp.array([0.0, 1.0, 2.0])).tolist()
    [[2.0, -1.0], [1.5, -0.5], [1.0, 0.0]]
    """
    check_number("scale", scale)
    _states(opt_state)  # refuse a state without one

    def rescale(node: Any) -> Any:
        if not _is_strength(node):
            return node
        return node._replace(
            scale=jax.tree.map(lambda old: jnp.asarray(scale, old.dtype), node.scale)
        )

    return jax.tree.map(rescale, opt_state, is_leaf=_is_strength)


def _states(opt_state: optax.OptState) -> list[StrengthState]:
    found = [
        node for node in jax.tree.leaves(opt_state, is_leaf=_is_strength) if _is_strength(node)
    ]
    if not found:
        raise ValueError(
            f"`opt_state` (={type(opt_state).__name__}) must come from a chain with an l1jax transformation that "
            "has a penalty, such as `l1jax.proximal_adam`."
        )
    return found


def _is_strength(node: Any) -> bool:
    return isinstance(node, StrengthState)


def _penalised(penalty: Penalty, params: PyTree) -> PyTree:
    """The parameters with None, an empty subtree, in place of the free leaves."""
    leaves, treedef = jax.tree.flatten(params)
    pairs = zip(leaf_penalties(penalty, params), leaves, strict=True)
    return treedef.unflatten([leaf if leaf_penalty else None for leaf_penalty, leaf in pairs])


def _scaled(penalty: Penalty, scale: ArrayLike) -> Penalty:
    if jnp.ndim(scale) and getattr(penalty, "axis", None) is not None:
        raise ValueError(
            f"`scale` (of shape {jnp.shape(scale)}) must be one number for {type(penalty).__name__}, whose strength "
            "belongs to groups, not to entries; `reweight` is for penalties of single entries such as `l1`."
        )
    return scaled(penalty, scale)


def _strengths(penalty: Penalty, scale: ArrayLike) -> tuple[Array, ...]:
    """The fields that `scaled` multiplies, times `scale`."""
    fields = jax.tree_util.tree_leaves_with_path(penalty)
    return tuple(
        jnp.asarray(leaf, float) * scale
        for path, leaf in fields
        if str(path[-1].name).endswith("strength")
    )


def _mean(scale: PyTree) -> Array:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(scale)]
    return jnp.asarray(
        sum(jnp.sum(leaf) for leaf in leaves) / max(sum(leaf.size for leaf in leaves), 1), float
    )
