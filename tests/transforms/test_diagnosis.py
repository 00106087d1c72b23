"""`diagnose` finds each composition that is silently wrong, and nothing in right ones."""

import jax.numpy as jnp
import optax
import pytest
from fast_cases import slow_except

import l1jax

PENALTY = l1jax.l1(0.1)
RATE = 0.1
SGD = l1jax.proximal_sgd(RATE, PENALTY)
ADAM = l1jax.proximal_adam(1e-2, PENALTY)

# What is wrong, and how many of the 24 zeros of 30 entries remain.
WRONG = {
    "prox in front": (
        optax.chain(l1jax.proximal(PENALTY, RATE), optax.sgd(RATE)),
        0,
        "the prox must be the last link",
    ),
    "ema": (optax.chain(ADAM, optax.ema(0.9)), 0, "put it in front, or use `b1`"),
    "mechanize": (optax.contrib.mechanize(ADAM), 0, "`mechanize` scales"),
    "lookahead": (optax.lookahead(SGD, 5, 0.5), None, "`optax.lookahead` averages"),
    "schedule_free": (optax.contrib.schedule_free(SGD, RATE), 0, "evaluates an average"),
    "reduce_on_plateau": (
        optax.chain(SGD, optax.contrib.reduce_on_plateau(patience=5)),
        0,
        "`reduce_on_plateau` scales",
    ),
    "backtracking": (
        optax.chain(SGD, optax.scale_by_backtracking_linesearch(10)),
        0,
        "use `l1jax.minimize`",
    ),
    "adaptive_grad_clip": (
        optax.chain(optax.adaptive_grad_clip(0.01), SGD),
        30,
        "All 30 entries are zero in the end, where the optimum has 24",
    ),
    "momentum": (
        optax.chain(optax.sgd(0.01, 0.9), l1jax.proximal(PENALTY, 0.01)),
        0,
        "The strength in force is 0.10 times",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_compositions_are_found(name):
    tx, zeros, message = WRONG[name]
    found = l1jax.diagnose(tx, PENALTY)
    assert found.expected_zeros == 24
    if zeros is None:  # by underflow, where the processor flushes to zero
        assert found.creeping == 24
    else:
        assert found.zeros == zeros
    assert any(message in finding for finding in found.findings), found.findings


TREE = {"kernel": jnp.zeros((6, 5)), "bias": jnp.zeros(5), "count": 3}
GROUPS = l1jax.by_path({"kernel": l1jax.group_l1(1e-3, l1jax.output_channels())})
RIGHT = {
    "proximal_adam": (l1jax.proximal_adam(1e-3, PENALTY), PENALTY, None),
    "proximal_sgd, momentum": (l1jax.proximal_sgd(0.01, PENALTY, momentum=0.9), PENALTY, None),
    "clipped": (optax.chain(optax.clip_by_global_norm(1.0), SGD), PENALTY, None),
    "groups": (l1jax.proximal_adam(1e-3, GROUPS), GROUPS, TREE),
    "ramda": (l1jax.ramda(0.1, GROUPS), GROUPS, TREE),
}


@pytest.mark.parametrize(
    "name", slow_except(RIGHT, "proximal_adam", "proximal_sgd, momentum", "clipped")
)
def test_nothing_is_found_in_right_compositions(name):
    found = l1jax.diagnose(*RIGHT[name])
    assert found.findings == ()
    assert 0 < found.zeros == found.expected_zeros
    assert found.moving == found.creeping == 0


@pytest.mark.parametrize(
    ("tx", "penalty", "message"),
    [
        (SGD, l1jax.mcp(0.1, 3.0), r"`penalty` \(=Mcp\) must be convex"),
        (SGD, l1jax.l1(0.0), "`penalty` must have a strength greater than 0"),
        (optax.set_to_zero(), PENALTY, "`tx` must move the parameters"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(tx, penalty, message):
    with pytest.raises(ValueError, match=message):
        l1jax.diagnose(tx, penalty)
