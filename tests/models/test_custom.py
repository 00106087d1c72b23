"""What is checked of a user's own model before it trains, each wrong thing one sentence."""

import random
import sys
import types
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from l1jax import config
from l1jax.build import build_model
from l1jax.config import CustomModel, InputError, check, from_json, to_json
from l1jax.config.fields import bounds
from l1jax.models import Gan, Generator, Network, Vae, from_linen

SHAPE = (2, 2, 1)


@dataclass(frozen=True)
class Options:
    width: int = field(default=3, metadata=bounds(1, 8))
    latent_size: int = 4


class Dense(nn.Module):
    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        size = int(np.prod(self.shape))
        return nn.Dense(size)(x.reshape(len(x), -1)).reshape(-1, *self.shape)


def generator(options, shape, **changes):
    network = from_linen(Dense(shape), (options.latent_size,))
    made = Generator(network, options.latent_size, shape, (-1.0, 1.0))
    return made._replace(**changes)


def good(options: Options, image_shape: tuple[int, int, int]) -> Gan:
    return Gan(generator(options, image_shape), from_linen(Dense(()), image_shape))


def good_vae(options: Options, image_shape: tuple[int, int, int]) -> Vae:
    drawn = generator(options, image_shape)
    encoder = from_linen(Dense((2 * options.latent_size,)), image_shape)
    return Vae(encoder, drawn.network, drawn, "bernoulli")


@pytest.fixture
def package(monkeypatch):
    """A module `own` with these functions, as if it were installed."""
    module = types.ModuleType("own")
    monkeypatch.setitem(sys.modules, "own", module)
    module.good = good
    module.good_vae = good_vae
    return module


def built(factory="own:good", **options):
    model = CustomModel(factory, Options(**options))
    return build_model(check(config.Config(model=model)).model, SHAPE)


def test_a_good_model_is_built_and_stands_in_json(package):
    model = built(width=2)
    params, _ = model.generator.network.init(jax.random.key(0))
    assert params["Dense_0"]["kernel"].shape == (4, 4)
    assert isinstance(built("own:good_vae"), Vae)
    experiment = check(config.Config(model=CustomModel("own:good")))  # its options have defaults
    assert experiment.model.options == Options()
    values = to_json(experiment)["model"]
    assert values == {
        "kind": "CustomModel",
        "factory": "own:good",
        "options": {"width": 3, "latent_size": 4},
    }
    assert from_json(to_json(experiment)) == experiment


def test_json_is_read_without_the_package(package):
    values = to_json(check(config.Config(model=CustomModel("own:good", Options(width=2)))))
    del package.good
    kept = from_json(values, aside=("model",))
    assert kept.model.options == {"width": 2, "latent_size": 4}
    assert to_json(kept) == values
    with pytest.raises(InputError, match=r"\(=own:good\) must name a function of own, which has"):
        from_json(values)


def test_options_are_checked_like_all_others(package):
    for options, message in (
        ({"width": 9}, r"`model.width` \(=9\) must be at least 1 and at most 8"),
        ({"width": 2.5}, r"`model.width` \(=2.5\) must be of type int"),
    ):
        with pytest.raises(InputError, match=message):
            built(**options)
    values = to_json(config.Config(model=CustomModel("own:good", Options())))
    values["model"]["options"]["depth"] = 3
    with pytest.raises(InputError, match=r"`model.depth` is not a field of Options; it has width"):
        from_json(values)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os:system", "must name a function of os, which has"),
        ("json:dumps", "must annotate its first parameter with its own frozen dataclass"),
        ("own.good", "must be package.module:function"),
        ("own:../good", "must be package.module:function"),
        ("nowhere_at_all.x:good", "is in the package nowhere_at_all, which is not installed here"),
        ("own:absent", "must name a function of own, which has .*good"),
        ("antigravity_not:x", "is not installed"),
    ],
)
def test_only_functions_of_options_are_taken(package, name, message):
    with pytest.raises(InputError, match=f"`model.factory` .*{message}"):
        check(config.Config(model=CustomModel(name)))


def test_a_module_that_fails_is_named(tmp_path, monkeypatch):
    (tmp_path / "own_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="cannot be imported: ZeroDivisionError: division by zero"):
        check(config.Config(model=CustomModel("own_broken:build")))


@dataclass
class Loose:
    width: int = 3


@dataclass(frozen=True)
class Odd:
    width: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Bare:
    width: int


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Loose, r"has options \(=Loose\) that can change: make them @dataclass\(frozen=True\)"),
        (Odd, "`width` of the options of .* must be an int, float, bool, str, Literal"),
        (Bare, "`width` of the options of .* must have a default"),
    ],
)
def test_options_must_be_a_frozen_dataclass_of_flags(package, kind, message):
    def build(options, image_shape) -> Gan: ...

    build.__annotations__["options"] = kind
    package.build = build
    with pytest.raises(InputError, match=message):
        check(config.Config(model=CustomModel("own:build")))


def with_generator(**changes):
    def build(options: Options, image_shape: tuple[int, int, int]) -> Generator:
        return generator(options, image_shape, **changes)

    return build


def with_network(init=None, apply=None):
    whole = from_linen(Dense(SHAPE), (4,))
    return with_generator(network=Network(init or whole.init, apply or whole.apply))


def changed(change):
    """A network whose outputs are changed."""
    whole = from_linen(Dense(SHAPE), (4,))

    def apply(params, stats, inputs, train, label=None, key=None):
        outputs, stats = whole.apply(params, stats, inputs, train, label, key)
        return change(outputs), stats

    return with_network(apply=apply)


def with_params(params):
    return with_network(init=lambda key: (params, {}))


def fails(options: Options, image_shape) -> Gan:
    raise RuntimeError("no such width\nand more")


def unannotated(options: Options, image_shape):
    return good(options, image_shape)


def of_another_type(options: Options, image_shape) -> Gan:
    return {}


def draws_itself(options: Options, image_shape) -> Gan:
    np.random.normal()  # noqa: NPY002
    return good(options, image_shape)


counter = iter(range(10_000))


def of_random_scale(options: Options, image_shape) -> Generator:
    scale = random.random()
    return changed(lambda x: scale * x)(options, image_shape)


def of_random_size(options: Options, image_shape) -> Generator:
    return generator(options, image_shape, image_range=(-1.0, 1.0 + next(counter)))


WRONG = {
    "fails": (fails, r"fails with RuntimeError: no such width\.$"),
    "unannotated": (unannotated, "must say what it returns: annotate it with -> Gan"),
    "type": (of_another_type, "must return a Gan, Vae or Generator .* and returns a dict"),
    "global state": (draws_itself, "`own:build` draws from the global state of numpy.random"),
    "latent size": (with_generator(latent_size=0), r"`generator.latent_size` \(=0\) must be a"),
    "image shape": (with_generator(image_shape=(3, 2, 1)), r"\(=\(3, 2, 1\)\) must be \(2, 2, 1\)"),
    "range": (with_generator(image_range=None), "must be the smallest and the largest value"),
    "order": (with_generator(image_range=(1.0, -1.0)), "must be two finite numbers, the smaller"),
    "network": (with_generator(network=None), r"`generator` \(=NoneType\) must be a Network"),
    "shape": (changed(lambda x: x[..., 0]), r"gives float32\[4, 2, 2\] for a batch whose outputs"),
    "dtype": (changed(lambda x: x.astype(jnp.bfloat16)), r"gives bfloat16\[4, 2, 2, 1\] for a"),
    "numpy": (changed(lambda x: x + np.random.rand()), "the global state of numpy.random"),  # noqa: NPY002
    "random": (
        changed(lambda x: x + random.random()),
        "is not pure: made twice, it computes two different",
    ),
    "random scale": (of_random_scale, "is not pure: made twice"),
    "random range": (of_random_size, "it is not pure: called twice, it makes two different"),
    "counter": (changed(lambda x: x + next(counter)), "is not pure: made twice, it computes two"),
    "constant": (
        changed(lambda x: x + np.full(SHAPE, next(counter), np.float32)),
        "is not pure: made twice",
    ),
    "callback": (
        changed(
            lambda x: jax.pure_callback(lambda y: y, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
        ),
        "is not pure: it has pure_callback",
    ),
    "error": (changed(lambda x: x @ jnp.ones((7, 7))), "`generator.apply in inference` fails with"),
    "bfloat16": (with_params({"a": jnp.ones(3, jnp.bfloat16)}), "'a' of bfloat16, and parameters"),
    "list": (with_params([jnp.ones(3)]), "must return nested dictionaries whose keys are names"),
    "none": (with_params({}), "makes no parameters, so there is nothing to train"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_sentence(package, case):
    build, message = WRONG[case]
    package.build = build
    with pytest.raises(InputError, match=message) as caught:
        built("own:build")
    assert "\n" not in str(caught.value)


class Unsynchronised(nn.Module):
    @nn.compact
    def __call__(self, x):
        mean = self.variable("batch_stats", "mean", jnp.zeros, ())
        if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
            mean.value = x.mean()
        return Dense(SHAPE)(x)


def test_statistics_of_one_device_are_refused(package):
    package.build = with_generator(network=from_linen(Unsynchronised(), (4,)))
    with pytest.raises(InputError, match=r"returns other batch statistics \(mean\) on each device"):
        built("own:build")


def test_the_other_networks_are_checked_too(package):
    def gan(options: Options, image_shape: tuple[int, int, int]) -> Gan:
        return good(options, image_shape)._replace(packing=2)

    def vae(options: Options, image_shape: tuple[int, int, int]) -> Vae:
        return good_vae(options, image_shape)._replace(encoder=from_linen(Dense((3,)), SHAPE))

    package.gan, package.vae = gan, vae
    with pytest.raises(InputError, match=r"discriminator.apply in inference` gives float32\[8\]"):
        built("own:gan")
    with pytest.raises(InputError, match=r"`encoder.apply in inference` gives float32\[4, 3\]"):
        built("own:vae")
