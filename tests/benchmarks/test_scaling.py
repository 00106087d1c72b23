"""The simulation of scaling counts what can be counted by hand, and its page shows the result."""

import json
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import scaling
import scaling_work

from l1jax.cli.experiment_file import experiments_folder, load_experiment


def program(function, *shapes):
    return jax.make_jaxpr(function)(*(jnp.zeros(shape) for shape in shapes)).jaxpr


def test_products_are_counted_in_loops_and_calls_too():
    def function(x, w):
        def step(carry, _):
            return jax.jit(jnp.dot)(carry, w), None

        return jax.lax.scan(step, x, None, length=7)[0]

    work = scaling_work.count(program(function, (3, 5), (5, 5)))
    assert work.flops == 7 * 2 * 3 * 5 * 5
    assert work.all_reduces == 0


@pytest.mark.parametrize("batch", [1, 4])
def test_a_convolution_and_its_gradients_multiply_what_their_definition_says(batch):
    """An 8×8 output of a 4×4 kernel of stride 2, 3 to 6 channels; borders do not matter here."""

    def loss(x, kernel):
        y = jax.lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.sum(y**2)

    shapes = (batch, 16, 16, 3), (4, 4, 3, 6)
    forward = 2 * batch * 8 * 8 * 6 * 4 * 4 * 3
    assert scaling_work.count(program(loss, *shapes)).flops == forward
    both = program(jax.grad(loss, argnums=(0, 1)), *shapes)
    assert scaling_work.count(both).flops == 3 * forward


def test_the_larger_branch_of_a_condition_counts():
    def function(x, w):
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x @ w)

    assert scaling_work.count(program(function, (3, 5), (5, 5))).flops == 2 * 2 * 3 * 5 * 5


def test_what_cannot_be_counted_is_refused():
    def function(x):
        return jax.lax.while_loop(lambda y: y[0, 0] < 1, lambda y: y @ y, x)

    with pytest.raises(NotImplementedError, match="while"):
        scaling_work.count(program(function, (3, 3)))
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("data",))
    gather = jax.shard_map(
        partial(jax.lax.all_gather, axis_name="data"),
        mesh=mesh,
        in_specs=P("data"),
        out_specs=P("data"),
    )
    with pytest.raises(NotImplementedError, match="all_gather"):
        scaling_work.count(program(gather, (4, 2)))


def test_the_dense_generator_by_hand():
    """100 → 128 → 128 → 784: forward, and gradients of all kernels and all inputs but the first."""
    sides = [(100, 128), (128, 128), (128, 784)]
    multiplications = sum(i * o for i, o in sides)
    expected = 2 * 64 * (3 * multiplications - sides[0][0] * sides[0][1])
    work = scaling_work.count_step(load_experiment("dense_generator"), jax.devices()[:4], 64)
    assert work.flops == expected
    gradients = 4 * sum(i * o + o for i, o in sides)
    assert scaling_work.gradient_bytes(load_experiment("dense_generator")) == gradients
    num_metrics = (work.reduced_bytes - gradients) / 4
    assert 0 < num_metrics < 10


@pytest.mark.slow
def test_what_is_sent_does_not_depend_on_the_batch_and_what_is_computed_does():
    experiment = load_experiment("digits")
    small = scaling_work.count_step(experiment, jax.devices()[:2], 8)
    large = scaling_work.count_step(experiment, jax.devices()[:8], 24)
    assert small.reduced_bytes == large.reduced_bytes
    assert large.flops == 3 * small.flops


def test_a_ring_all_reduce_by_hand():
    """Four devices send three quarters of the bytes twice: 6 MB in 6 ms at 1 GB/s."""
    work = scaling_work.Work(flops=2e-3 * scaling.RATE, reduced_bytes=4e6, all_reduces=1)
    compute, communicate = scaling.step_seconds(work, 4, 1e9)
    assert compute == pytest.approx(2e-3)
    assert communicate == pytest.approx(6e-3)
    found = scaling.efficiency(work, 4, 1e9)
    assert found == pytest.approx({"apart": 0.25, "overlapped": 1 / 3})
    needed = scaling.images_for(0.9, work, 4, 1e9, 10)
    grown = work._replace(flops=work.flops * needed / 10)
    assert scaling.efficiency(grown, 4, 1e9)["apart"] == pytest.approx(0.9)


def test_bytes_of_a_compiled_all_reduce():
    line = "%a = (f32[2,3]{1,0:T(8,128)}, f32[], bf16[7]) all-reduce(f32[2,3] %b, f32[] %c)"
    assert scaling.result_bytes(line) == 4 * (6 + 1) + 2 * 7


def test_the_page_shows_the_kept_result():
    page, record = scaling.PAGE.read_text(), json.loads(scaling.RESULT.read_text())
    assert scaling.fill(page, record) == page
    names = {path.stem for path in experiments_folder().glob("*.py")}
    assert {row["experiment"] for row in record["experiments"]} == names
    for row in record["experiments"]:
        for devices in scaling.DEVICES:
            assert row[f"on {devices}"]["reduced_bytes"] >= row["gradient_bytes"]
