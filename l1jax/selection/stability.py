"""Select what a penalty leaves non-zero in most random halves of the examples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from l1jax.config import InputError
from l1jax.penalties import Penalty, zero_groups
from l1jax.selection.closure import hoist_constants


def stability_selection(
    fit: Callable[[Float[Array, " examples"]], PyTree],
    examples: int,
    key: Key[Array, ""],
    *,
    resamples: int = 100,
    penalty: Penalty | None = None,
) -> PyTree:
    """Find the share of half-size resamples in which each entry, or group, is not zero.

    All resamples are fitted in one mapped program.

    Args:
        fit: weights of the examples, 1 in the half and 0 elsewhere → parameters, a tree of arrays.
            It must be pure JAX. Arrays that it closes over, such as the examples, become arguments
            of the compiled program. It may fit a whole path of strengths: then each strength has
            its own share.
        examples: how many there are.
        key: of the halves.
        resamples: how many halves, each drawn without replacement.
        penalty: if given, its groups are counted instead of entries, by path, as
            `l1jax.zero_groups` returns them.

    Returns:
        Shares in [0, 1], a tree like the parameters', or a dictionary of groups.

    Raises:
        InputError: if there are fewer than two examples, or no resamples.

    Source: Meinshausen and Bühlmann, J. R. Stat. Soc. B 72 (2010), section 2.
    """
    if examples < 2 or resamples < 1:
        raise InputError(
            f"`examples` (={examples}) must be at least 2 and `resamples` (={resamples}) at "
            "least 1."
        )

    fit_half, constants = hoist_constants(fit, jnp.zeros(examples, float))

    def selected(constants: list[Array], key: Key[Array, ""]) -> PyTree:
        half = jax.random.permutation(key, examples) < examples // 2
        params = fit_half(constants, half.astype(float))
        if penalty is None:
            return jax.tree.map(lambda leaf: leaf != 0, params)
        return jax.tree.map(jnp.logical_not, zero_groups(params, penalty))

    selections = jax.jit(jax.vmap(selected, (None, 0)))(constants, jax.random.split(key, resamples))
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0, dtype=float), selections)


def false_selections(selected: float, threshold: float, variables: int) -> float:
    """Bound the expected number of false selections, of variables that do not matter.

    The bound is q²/((2π − 1)p). It assumes that the noise variables are exchangeable and that the
    fit is no worse than a random choice.

    Args:
        selected: q, how many variables are non-zero in one half, on average over the halves.
        threshold: π, the share of the halves, greater than ½, in which a variable must be
            non-zero to be selected.
        variables: p, how many there are.

    Raises:
        InputError: if the threshold is not in (½, 1].

    Source: Meinshausen and Bühlmann, J. R. Stat. Soc. B 72 (2010), theorem 1.
    """
    if not 0.5 < threshold <= 1:
        raise InputError(
            f"`threshold` (={threshold}) must be greater than 0.5 and at most 1, such as 0.75."
        )
    return selected**2 / ((2 * threshold - 1) * variables)
