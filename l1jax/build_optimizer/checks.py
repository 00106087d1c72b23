"""Which fields of an optimiser's configuration go together."""

from l1jax import config
from l1jax.build_optimizer.penalty import has_channel_groups
from l1jax.build_optimizer.pruning import check_pruning, prunes
from l1jax.penalties import Penalty, strengths

ADAPTIVE = ("adam", "rmsprop", "adagrad")
"""The algorithms whose steps differ from entry to entry."""
DUAL_AVERAGING = ("rmda", "ramda")
"""The algorithms that average gradients, and that have one way to use a penalty."""


def check_optimizer(optimizer: config.Optimizer, penalty: Penalty) -> None:
    """Check the fields of an optimiser together; each alone has its bounds.

    Args:
        optimizer: the configuration.
        penalty: that of the parameters which it penalises, as it is built.

    Raises:
        InputError: naming a field that does not go with the others.
    """
    algorithm = optimizer.algorithm
    is_metric = optimizer.method == "metric"
    is_dual_averaging = algorithm in DUAL_AVERAGING
    has_strength = any(strengths(penalty))
    has_penalty = has_strength or getattr(penalty, "is_constraint", False)
    check_pruning(optimizer, has_penalty=has_penalty, is_dual_averaging=is_dual_averaging)

    def check(holds: bool, name: str, requirement: str) -> None:
        if not holds:
            value = getattr(optimizer, name)
            raise config.InputError(f"`{name}` (={value}) must be {requirement}.")

    check(
        not is_dual_averaging or is_metric,
        "method",
        f"metric for {algorithm}, which has one way to use a penalty",
    )
    check(
        optimizer.momentum is None or algorithm not in ("adam", "adagrad"),
        "momentum",
        f"None for {algorithm}; Adam has b1",
    )
    ramp_of_b2 = optimizer.b2_ramp
    check(
        not ramp_of_b2.steps or algorithm in ("adam", "rmsprop"),
        "algorithm",
        "adam or rmsprop with a `b2_ramp`, which moves their b2",
    )
    if ramp_of_b2.steps and ramp_of_b2.end >= 1:
        raise config.InputError(
            f"`b2_ramp.end` (={ramp_of_b2.end}) must be below 1, as every `b2` must: 0.99."
        )
    has_groups = hasattr(optimizer.penalty, "groups")
    check(
        not optimizer.per_group or (has_groups and is_metric and algorithm in ADAPTIVE),
        "per_group",
        "False but for a group penalty, with metric and one of adam, rmsprop, adagrad",
    )
    check(
        not optimizer.sparsity_target
        or prunes(optimizer)
        or bool(getattr(optimizer.penalty, "strength", 0)),
        "sparsity_target",
        "0 without a penalty whose strength it can scale",
    )
    check(
        optimizer.sparsity_scope == "global" or not has_channel_groups(optimizer.penalty),
        "sparsity_scope",
        "global for groups of channels, which extend over several arrays",
    )
    ramp = optimizer.strength_schedule
    if optimizer.sparsity_target and 0 < optimizer.debias_after < ramp.warmup:
        raise config.InputError(
            f"`debias_after` (={optimizer.debias_after}) must be at least the "
            f"`strength_schedule.warmup` (={ramp.warmup}) of `sparsity_target`, which is not "
            "reached before: debias later, or shorten the warm-up."
        )
    can_debias = has_strength and not is_dual_averaging and optimizer.method != "subgradient"
    check(
        not optimizer.debias_after or can_debias,
        "debias_after",
        "0 but for metric or plain with a strength, and not rmda or ramda",
    )
