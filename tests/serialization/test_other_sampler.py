"""A flow model's images, reached in another way than it was trained with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from generators import experiment, generator

from l1jax import sample
from l1jax.compaction import compact
from l1jax.config import Config, DigitsData, FlowMatching, FlowMlp, InputError
from l1jax.models.layout.layout_network import TrainedGenerator
from l1jax.serialization.loaded_generator import LoadedGenerator, from_exported
from l1jax.serialization.model_folder import read_model, write_model
from l1jax.serialization.other_sampler import with_sampler
from l1jax.serialization.rebuild_generator import rebuild
from l1jax.training.state import Average

pytestmark = pytest.mark.usefixtures("one_device")

SHAPE = (8, 8, 1)
MODEL = FlowMlp((6,), 4, predicts="velocity", classes=3, sampling_steps=2)
FLOW = Config(data=DigitsData(), model=MODEL, objective=FlowMatching(label_dropout=0.1))
LATENTS = jnp.asarray(np.random.default_rng(0).normal(size=(3, 64)), jnp.float32)
LABELS = jnp.arange(3)


@pytest.fixture(scope="module")
def opened():
    made = rebuild(MODEL, SHAPE, {})
    params, _ = made.network.init(jax.random.key(0))
    params["hidden_0"]["kernel"] = params["hidden_0"]["kernel"].at[:, 2].set(0)
    return LoadedGenerator(FLOW, made, Average(params, {}), 7, {})


def images(opened):
    return opened.generator.network.apply(opened.average.params, {}, LATENTS, False, LABELS)[0]


def velocity(opened, time, labels):
    """Of the latents, by the network that predicts it."""
    network, _ = opened.generator.predictor()
    inputs = jnp.column_stack([LATENTS, jnp.full(3, time, jnp.float32)])
    return np.asarray(network.apply(opened.average.params, {}, inputs, False, labels)[0])


def test_one_step_of_euler_adds_the_first_velocity(opened):
    changed = with_sampler(opened, {"method": "euler", "sampling_steps": 1})
    expected = LATENTS.reshape(-1, *SHAPE) + velocity(opened, 0, LABELS).reshape(-1, *SHAPE)
    np.testing.assert_allclose(images(changed), np.clip(expected, -1, 1), atol=1e-5)
    assert changed.experiment.model.sampling_steps == 1
    assert with_sampler(opened, {}) is opened


def test_guidance_goes_away_from_what_is_drawn_without_a_class(opened):
    changes = {"method": "euler", "sampling_steps": 1, "guidance": 2.0}
    own, none = (velocity(opened, 0, labels) for labels in (LABELS, jnp.zeros((3, 3))))
    expected = LATENTS.reshape(-1, *SHAPE) + (own + 2 * (own - none)).reshape(-1, *SHAPE)
    found = images(with_sampler(opened, changes))
    np.testing.assert_allclose(found, np.clip(expected, -1, 1), atol=1e-5)


def test_a_compact_model_takes_it_too(opened):
    smaller = compact(opened.generator, opened.average.params, {})
    compacted = opened._replace(
        generator=smaller.generator, average=Average(smaller.params, {}), layout=smaller.layout
    )
    changes = {"sampling_steps": 3, "method": "heun", "time_shift": 2.0, "guidance": 1.0}
    expected = images(with_sampler(opened, changes))
    np.testing.assert_allclose(images(with_sampler(compacted, changes)), expected, atol=1e-5)
    assert not np.allclose(images(compacted), expected, atol=1e-3)


def test_sample_takes_the_flags(opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = TrainedGenerator(opened.generator, *opened.average, {})
    write_model(tmp_path / "flow", trained, FLOW, 7, {})
    drawn = {}
    for name, flags in (
        ("as trained", []),
        ("same", ["--sampling-steps=2"]),
        ("more", ["--sampling-steps=9"]),
    ):
        output = tmp_path / f"{name}.npz"
        assert sample.main(["--model=flow", "--count=3", f"--output={output}", *flags]) == 0
        drawn[name] = np.load(output)["images"]
    np.testing.assert_array_equal(drawn["same"], drawn["as trained"])
    assert not np.array_equal(drawn["more"], drawn["as trained"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling_steps": 0}, r"`--sampling-steps` \(=0\) must be at least 1"),
        ({"guidance": -1.0}, r"`--guidance` \(=-1.0\) must be finite, at least 0"),
        ({"time_shift": float("nan")}, r"`--time-shift` \(=nan\) must"),
    ],
)
def test_values_out_of_range_are_refused(opened, changes, words):
    with pytest.raises(InputError, match=words):
        with_sampler(opened, changes)


def test_what_cannot_be_reached_otherwise_is_refused(opened, tmp_path):
    write_model(tmp_path / "gan", generator("mlp"), experiment("mlp"), 7, {})
    gan = from_exported(read_model(tmp_path / "gan"))
    with pytest.raises(InputError, match=r"`--sampling-steps` \(=2\) is for flow models"):
        with_sampler(gan, {"sampling_steps": 2})
    program = opened._replace(average=Average({}, {}))
    with pytest.raises(InputError, match=r"`--guidance` \(=1.0\) must be left out for a program"):
        with_sampler(program, {"guidance": 1.0})
    always = opened._replace(
        experiment=Config(data=FLOW.data, model=MODEL, objective=FlowMatching())
    )
    with pytest.raises(
        InputError, match=r"`--guidance` \(=1.0\) needs .* --objective.label-dropout"
    ):
        with_sampler(always, {"guidance": 1.0})
    with pytest.raises(InputError, match=r"`--method` \(=average\) must be euler, midpoint"):
        with_sampler(opened, {"method": "average"})
