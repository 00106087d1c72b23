"""A strict type checker finds a wrong argument of every public function, and none in right code."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import l1jax
from l1jax import preconditioners

HEADER = """\
import jax
import jax.numpy as jnp
import optax

import l1jax
from l1jax import preconditioners

penalty = l1jax.l1(1e-4)
params = {"kernel": jnp.ones((4, 3))}


def loss(params: dict[str, jax.Array]) -> jax.Array:
    return jnp.sum(params["kernel"] ** 2)


"""

# One line per function, each with an argument that it does not take.
WRONG = {
    "accelerated": "l1jax.accelerated('fast', penalty)",
    "add_subgradient": "l1jax.add_subgradient(1e-4)",
    "budget": "l1jax.budget(0.5, 'layer')",
    "by_path": "l1jax.by_path({'kernel': 1e-4})",
    "coupled": "l1jax.coupled(1e-4, 'kernel')",
    "coupled_l0": "l1jax.coupled_l0('1e-4', {'kernel': -1})",
    "coupled_mcp": "l1jax.coupled_mcp(1e-4, '3', {'kernel': -1})",
    "d_gating": "l1jax.d_gating('rows')",
    "diagnose": "l1jax.diagnose(penalty, penalty)",
    "elastic_net": "l1jax.elastic_net(1e-4)",
    "freeze_support": "l1jax.freeze_support(start='late')",
    "group_l1": "l1jax.group_l1(1e-4, axis='rows')",
    "group_l0": "l1jax.group_l0('1e-4', 0)",
    "group_mcp": "l1jax.group_mcp(1e-4, 3.0)",
    "hadamard": "l1jax.hadamard(depth=2.5)",
    "input_channels": "l1jax.input_channels('in_in')",
    "kernel_blocks": "l1jax.kernel_blocks(16)",
    "l0": "l1jax.l0('1e-4')",
    "l1": "l1jax.l1('1e-4')",
    "l1_ball": "l1jax.l1_ball(strength=1.0)",
    "l2": "l1jax.l2(penalty)",
    "l_half": "l1jax.l_half(None)",
    "largest_strength": "l1jax.largest_strength(params, loss, penalty)",
    "linf": "l1jax.linf([1e-4])",
    "log_sum": "l1jax.log_sum(1e-4, epsilon=0.1)",
    "load": "l1jax.load(3)",
    "magnitude_pruning": "l1jax.magnitude_pruning(0.5, every='epoch')",
    "mcp": "l1jax.mcp(1e-4, '3')",
    "minimize": "l1jax.minimize(loss, params, penalty, tol=1e-6)",
    "n_of_m": "l1jax.n_of_m('2:4')",
    "nonnegative_l1": "l1jax.nonnegative_l1()",
    "nuclear_norm": "l1jax.nuclear_norm(1e-4, 1.5)",
    "output_channels": "l1jax.output_channels(axes='all')",
    "preconditioned_proximal": (
        "l1jax.preconditioned_proximal(optax.adam(0.1), 'adam', penalty, 0.1)"
    ),
    "proximal": "l1jax.proximal(1e-3, penalty)",
    "proximal_adagrad": "l1jax.proximal_adagrad(penalty, 1e-3)",
    "proximal_adam": "l1jax.proximal_adam(1e-3, penalty, weight_decay='small')",
    "proximal_rmsprop": "l1jax.proximal_rmsprop(1e-3, penalty, centred=True)",
    "proximal_sgd": "l1jax.proximal_sgd(1e-3, penalty, nesterov='yes')",
    "ramda": "l1jax.ramda(penalty, 1e-3)",
    "regularized_dual_averaging": "l1jax.regularized_dual_averaging(1e-3, 1e-4)",
    "reweight": "l1jax.reweight('often')",
    "rigl": "l1jax.rigl(optax.adam, 0.5)",
    "rising_momentum": "l1jax.rising_momentum('high')",
    "rmda": "l1jax.rmda(1e-3, l1jax.l1)",
    "scad": "l1jax.scad(1e-4, 'a')",
    "scales": "l1jax.scales(1)",
    "set_scale": "l1jax.set_scale((), 'large')",
    "soft_threshold": "l1jax.soft_threshold('x', 1.0)",
    "solution": "l1jax.solution(())",
    "sparse_average": "l1jax.sparse_average(params, params, 'slow')",
    "sparse_ema": "l1jax.sparse_ema('slow')",
    "sparse_lookahead": "l1jax.sparse_lookahead(optax.sgd(0.1), 5)",
    "sparse_schedule_free": "l1jax.sparse_schedule_free(optax.sgd(0.1), b1=0.9)",
    "sparse_group_l1": "l1jax.sparse_group_l1(1e-4, 0)",
    "sparsity": "l1jax.sparsity(params, 1)",
    "strength": "l1jax.strength((), params)",
    "sum_of": "l1jax.sum_of([penalty])",
    "track_sparsity": "l1jax.track_sparsity('0.9')",
    "weighted_l1": "l1jax.weighted_l1('1e-4', params)",
    "zero_groups": "l1jax.zero_groups(params, 1e-4)",
    # the methods of a penalty and of what comes back
    "prox": "penalty.prox(params)",
    "value": "penalty.value(params, 1.0)",
    "distance": "penalty.distance(grad=params)",
    "Minimum": "l1jax.minimize(loss, params, penalty).solution",
    "Sparsity": "l1jax.sparsity(params).share",
    "Diagnosis": "l1jax.diagnose(optax.sgd(0.1), penalty).zeroes",
    # without a decorator a step of training takes the wrong order
    "update": "l1jax.proximal_adam(1e-3, penalty).update()",
}
METRICS = {name for name in preconditioners.__all__ if name != "Preconditioner"}
WRONG |= {name: f"preconditioners.{name}(beta='0.9')" for name in METRICS}

RIGHT = """
kernels = l1jax.by_path({r"(^|/)kernel$": l1jax.sum_of(penalty, l1jax.l2(1e-4))})
rate = optax.cosine_decay_schedule(1e-3, 1000)
tx = l1jax.proximal_adam(rate, kernels, weight_decay=0.1, mu_dtype=jnp.bfloat16, per_group=True)
metric = preconditioners.amsgrad()
other = l1jax.preconditioned_proximal(optax.amsgrad(rate), metric, kernels, rate)
chain = optax.chain(optax.sgd(0.1), l1jax.proximal(kernels, 0.1), l1jax.n_of_m(2, 4))
budget = l1jax.budget(0.1, "global", axis=(0,), steps=1000)
groups = l1jax.group_l1(1e-4, l1jax.output_channels("out_in"))
low_rank = l1jax.nuclear_norm(jnp.asarray(1e-4), row_axes=3)
tracked = l1jax.proximal_sgd(0.1, groups, momentum=0.9, scale=l1jax.track_sparsity(0.9))


@jax.jit
def train_step(
    params: dict[str, jax.Array], opt_state: optax.OptState
) -> tuple[optax.Params, optax.OptState]:
    grads = jax.grad(loss)(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


new_params, state = train_step(params, tx.init(params))
result = l1jax.minimize(loss, params, low_rank, tolerance=1e-6)
converged: bool = bool(result.converged)
zeros: float = float(l1jax.sparsity(params).total)
findings: tuple[str, ...] = l1jax.diagnose(chain, penalty).findings
smaller = penalty.prox(params, 0.1)
cost: jax.Array = penalty.value(params) + penalty.distance(params, params)
answer = l1jax.solution(state, new_params)
scaled = l1jax.set_scale(state, 0.5)
"""


def is_about_others(diagnostic: dict[str, Any]) -> bool:
    """Whether it says that a type of JAX or optax is unknown, which strict code meets anyway."""
    if not diagnostic.get("rule", "").startswith(("reportUnknown", "reportMissingTypeStubs")):
        return False
    named = re.match(r'Type of "(\w+)"', diagnostic["message"])
    ours = {*l1jax.__all__, *METRICS, "prox", "value", "subgradient", "distance"}
    return named is None or named[1] not in ours


def complaints(folder: Path) -> dict[str, dict[int, str]]:
    """The errors that pyright finds in each file, by line."""
    config = {"typeCheckingMode": "strict", "include": ["*.py"], "reportUnusedExpression": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    root = Path(l1jax.__file__).parents[1]
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    found = subprocess.run(
        [*command, "--project", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    lines: dict[str, dict[int, str]] = {"wrong.py": {}, "right.py": {}}
    for diagnostic in json.loads(found.stdout)["generalDiagnostics"]:
        if diagnostic["severity"] == "error" and not is_about_others(diagnostic):
            name = Path(diagnostic["file"]).name
            line = diagnostic["range"]["start"]["line"] + 1
            lines[name][line] = diagnostic["message"]
    return lines


def test_every_public_function_is_listed():
    functions = {name for name in l1jax.__all__ if inspect.isfunction(getattr(l1jax, name))}
    assert functions <= set(WRONG)


@pytest.mark.slow
def test_wrong_arguments_are_found_and_right_ones_pass(tmp_path):
    pytest.importorskip("pyright")
    (tmp_path / "wrong.py").write_text(HEADER + "\n".join(WRONG.values()) + "\n")
    (tmp_path / "right.py").write_text(HEADER + RIGHT)
    found = complaints(tmp_path)
    first = HEADER.count("\n") + 1
    missed = [name for line, name in enumerate(WRONG, first) if line not in found["wrong.py"]]
    assert not missed
    assert found["right.py"] == {}
