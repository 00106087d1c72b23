import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.evaluation.health import (
    alarms,
    dead_units,
    diversity,
    output_sparsity,
    saturation,
    spread,
)
from l1jax.models import dcgan, mlp_gan
from l1jax.models.summary import layers

RNG = np.random.default_rng(0)


def dead(generator, params, statistics, latents):
    def forward():
        return generator.network.apply(params, statistics, latents, False)[0]

    rows = layers(generator.network.init)
    return jax.jit(lambda: dead_units(forward, rows, len(latents), jax.random.key(1)))()


@pytest.mark.slow
def test_dead_units_are_those_that_are_never_on_or_never_read():
    generator = mlp_gan((2, 2, 1), 3, (8, 10), activation="relu").generator
    params, statistics = jax.jit(generator.network.init)(jax.random.key(0))
    latents = generator.latents(jax.random.key(2), 64)
    assert max(map(float, dead(generator, params, statistics, latents).values())) == 0
    params["hidden_0"]["bias"] = jnp.zeros(8).at[:2].set(-100.0)  # two are never on
    params["hidden_1"]["kernel"] = params["hidden_1"]["kernel"].at[4].set(0.0)  # one is never read
    params["image"]["kernel"] = params["image"]["kernel"].at[:5].set(0.0)  # of the next layer, half
    found = dead(generator, params, statistics, latents)
    assert {name: float(share) for name, share in found.items()} == {
        "hidden_0": 3 / 8,
        "hidden_1": 0.5,
        "image": 0.0,
    }


@pytest.mark.slow
def test_dead_channels_of_convolutions_with_batch_norm_and_checkpointing():
    generator = dcgan((8, 8, 1), latent_size=4, channels=4, checkpointing=True).generator
    params, statistics = generator.network.init(jax.random.key(0))
    last = [name for name in params if "kernel" in params[name]][-1]
    params[last]["kernel"] = (
        params[last]["kernel"].at[:, :, 1].set(0.0)
    )  # its input channel 1 is not read
    found = dead(generator, params, statistics, generator.latents(jax.random.key(2), 16))
    norms = [name for name in found if params[name].get("scale") is not None]
    assert float(found[norms[-1]]) == 1 / params[norms[-1]]["scale"].size
    assert float(found[last]) == 0


def test_the_whole_generator_is_dead_when_its_last_kernel_is_zero():
    generator = mlp_gan((2, 2, 1), 3, (8,)).generator
    params, statistics = jax.jit(generator.network.init)(jax.random.key(0))
    params["image"]["kernel"] = jnp.zeros_like(params["image"]["kernel"])
    found = dead(generator, params, statistics, generator.latents(jax.random.key(2), 16))
    assert (float(found["hidden_0"]), float(found["image"])) == (1.0, 0.0)


def test_saturation_and_output_sparsity_count_entries():
    images = jnp.array([-1.0, -0.999, -0.99, -0.5, 0.0, 0.97, 0.985, 1.0]).reshape(2, 2, 2, 1)
    assert float(saturation(images, (-1.0, 1.0))) == 5 / 8  # within 0.02 of an end
    assert float(output_sparsity(images, (-1.0, 1.0))) == 2 / 8  # that round to 0 of 255


def test_the_spread_is_the_largest_difference_of_an_entry():
    images = jnp.array([[-1.0, 0.0, 0.5], [-1.0, 0.2, 0.5], [-1.0, -0.1, 0.75]]).reshape(3, 1, 3, 1)
    assert float(spread(images, (-1.0, 1.0))) == pytest.approx(0.3 / 2)
    assert float(spread(images, (0.0, 1.0))) == pytest.approx(0.3)
    assert float(spread(images, None)) == pytest.approx(0.3)
    assert float(spread(images[:1].repeat(3, axis=0), None)) == 0


def test_diversity_is_the_ratio_of_mean_squared_distances():
    a, b = (
        RNG.normal(size=(5, 2, 3, 1)).astype(np.float32),
        3 * RNG.normal(size=(7, 2, 3, 1)).astype(np.float32),
    )

    def distance(x):
        pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j]
        return np.mean([np.sum(np.square(x[i].astype(np.float64) - x[j])) for i, j in pairs])

    np.testing.assert_allclose(
        diversity(jnp.asarray(a), jnp.asarray(b)), distance(a) / distance(b), rtol=1e-5
    )
    assert float(diversity(jnp.ones((4, 2)), jnp.asarray(b))) == 0


WELL = {
    "generator/diversity": 0.9,
    "discriminator/accuracy": 0.9,
    "discriminator/real_logit": 3.0,
    "discriminator/fake_logit": -3.0,
    "generator/gradient_norm": 0.1,
    "generator/dead/hidden_0": 0.9,
    "generator/spread": 0.5,
    "generator/sparsity/hidden_0/kernel": 1.0,
    "generator/sparsity/image/kernel": 0.9,
    "discriminator/sparsity/logit/kernel": 0.9,
    "discriminator/sparsity/logit/bias": 1.0,
    "encoder/sparsity/hidden_0/kernel": 0.9,
    "generator/output_sparsity": 0.5,
    "real/output_sparsity": 0.4,
    "generator/saturation": 0.6,
    "real/saturation": 0.5,
}


@pytest.mark.parametrize(
    ("name", "change", "remedy"),
    [
        ("collapse", {"generator/diversity": 0.02}, "--objective.r1"),
        ("discriminator wins", {"discriminator/accuracy": 0.999}, "--discriminator.learning-rate"),
        ("divergence", {"discriminator/fake_logit": -2e4}, "--generator.learning-rate"),
        ("vanishing gradient", {"generator/gradient_norm": 1e-9}, "--objective.loss"),
        ("dead layer", {"generator/dead/hidden_0": 1.0}, "--generator.penalty.strength"),
        ("saturated outputs", {"generator/saturation": 0.98}, "--generator.learning-rate"),
        ("all zero", {"generator/sparsity/image/kernel": 1.0}, "--generator.penalty.strength"),
        (
            "all zero",
            {"discriminator/sparsity/logit/kernel": 1.0},
            "--discriminator.penalty.strength",
        ),
        ("all zero", {"encoder/sparsity/hidden_0/kernel": 1.0}, "--encoder.penalty.strength"),
        ("constant images", {"generator/spread": 0.0}, "--generator.learning-rate"),
        ("constant images", {"generator/spread": 1 / 511}, "--generator.penalty.strength"),
        ("constant logits", {"discriminator/fake_logit": 3.0}, "--discriminator.penalty.strength"),
        ("sparse outputs", {"generator/output_sparsity": 0.8}, "smaller strength"),
    ],
)
def test_an_alarm_is_raised_for_what_is_wrong_alone_and_says_what_to_try(name, change, remedy):
    assert alarms(WELL) == alarms({}) == alarms(dict.fromkeys(WELL, float("nan"))) == {}
    raised = alarms(WELL | change)
    assert list(raised) == [name]
    assert remedy in raised[name]
