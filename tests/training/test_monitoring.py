import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.models import flow_mlp, mlp_gan, to_uint8
from l1jax.training.monitoring import make_alarm_monitor, make_health_metrics
from l1jax.training.state import Average, GeneratorState, NetworkState


def sentences_into(said):
    return lambda step, _, sentence: said.append(f"step {step:,}: {sentence}")


def start(generator):
    """An untrained generator's state."""
    params, statistics = jax.jit(generator.network.init)(jax.random.key(0))
    network = NetworkState(params, statistics, ())
    return GeneratorState(jnp.zeros([], jnp.int32), network, Average(params, statistics))


@pytest.mark.slow
def test_a_probe_looks_at_the_generator_in_training():
    generator = mlp_gan((2, 3, 1), 4, (6,), classes=2).generator
    state, latents = start(generator), generator.latents(jax.random.key(1), 32)
    images, _ = generator.network.apply(
        state.generator.params, {}, latents, False, jnp.arange(32) % 2
    )
    real = to_uint8(images, generator.image_range)
    found = make_health_metrics(generator)(state, real, latents, jax.random.key(2))
    np.testing.assert_allclose(
        found["generator/diversity"], 1, atol=0.02
    )  # against itself, rounded to 8 bits
    assert float(found["generator/output_sparsity"]) == float(found["real/output_sparsity"])
    assert {name for name in found if "/dead/" in name} == {
        "generator/dead/hidden_0",
        "generator/dead/image",
    }


def test_points_have_neither_saturation_nor_output_sparsity():
    generator = mlp_gan((1, 1, 2), 2, (6,), output="linear").generator
    real = jax.random.normal(jax.random.key(3), (16, 1, 1, 2))
    latents = generator.latents(jax.random.key(1), 32)
    found = make_health_metrics(generator)(start(generator), real, latents, jax.random.key(2))
    assert set(found) == {"generator/diversity", "generator/dead/hidden_0", "generator/dead/image"}


def test_units_of_a_flow_are_dead_in_one_evaluation():
    flow = flow_mlp((1, 1, 2), (6, 4), 2, "velocity", "linear", sampling_steps=2)
    generator = flow.generator
    state = start(generator)
    params = state.generator.params
    params["hidden_1"]["kernel"] = params["hidden_1"]["kernel"].at[:2].set(0)
    state = state._replace(generator=state.generator._replace(params=params))
    real = jax.random.normal(jax.random.key(3), (16, 1, 1, 2))
    latents = generator.latents(jax.random.key(1), 32)
    found = make_health_metrics(generator)(state, real, latents, jax.random.key(2))
    dead = {name: float(share) for name, share in found.items() if "/dead/" in name}
    expected = {"hidden_0": 1 / 3, "condition": 1 / 3, "hidden_1": 0, "image": 0}
    assert dead == pytest.approx({f"generator/dead/{name}": s for name, s in expected.items()})


def test_an_alarm_is_told_when_it_lasts_and_again_when_it_comes_back():
    said = []
    watch = make_alarm_monitor(sentences_into(said))
    for step, diversity in enumerate([0.01, 0.5, 0.01, 0.02, 0.03, 0.5, 0.02, 0.02]):
        watch(step, {"generator/diversity": diversity})
    assert [line.split(":")[0] for line in said] == ["step 3", "step 7"]


def test_an_alarm_of_what_cannot_be_a_start_is_told_at_the_first_line_and_once():
    said = []
    watch = make_alarm_monitor(sentences_into(said))
    zeros = [0.5, 1.0, 1.0, 0.5, 1.0]
    for step, share in enumerate(zeros):
        watch(step, {"generator/sparsity/image/kernel": share})
    assert [line.split(":")[0] for line in said] == ["step 1", "step 4"]


def test_equal_logits_are_told_at_the_second_line_in_a_row():
    said = []
    watch = make_alarm_monitor(sentences_into(said))
    for step, apart in enumerate([0.0, 0.1, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0]):
        watch(step, {"discriminator/real_logit": apart, "discriminator/fake_logit": 0.0})
    assert [line.split(":")[0] for line in said] == ["step 3", "step 7"]


def test_lines_between_two_looks_change_nothing_of_their_alarms():
    said = []
    watch = make_alarm_monitor(sentences_into(said))
    collapsed, line = {"generator/diversity": 0.01}, {"discriminator/accuracy": 1.0}
    for step, values in enumerate([collapsed, line, line, collapsed, line, collapsed]):
        watch(step, values)
    assert [line.split(":")[0] for line in said] == ["step 3"]
