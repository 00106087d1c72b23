import ast
import copy
import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest

from l1jax import config
from l1jax.config import (
    FREE_FIELDS,
    L1,
    Adversarial,
    ArrayData,
    AudioData,
    Config,
    Dcgan,
    DenseGenerator,
    DigitsData,
    Dit,
    FlowMatching,
    FlowMlp,
    IdxData,
    ImageData,
    InputError,
    MeanFlow,
    MixtureData,
    MlpGan,
    NextToken,
    Optimizer,
    Origin,
    R3gan,
    Reconstruction,
    SnResnet,
    StackedData,
    TextData,
    TfdsData,
    TonesData,
    TopicsData,
    Transformer,
    Unet,
    Vae,
    Variational,
    check,
    differences,
    from_json,
    kinds,
    switch_kind,
    to_json,
)

EXPERIMENTS = [
    Config(),
    Config(data=ImageData("pictures", crop=178), model=Dcgan(norm="none"), steps=3, seed=2**32 - 1),
    Config(data=TfdsData("celeb_a"), model=MlpGan(generator_hidden=(), output="sigmoid")),
    Config(model=DenseGenerator(), objective=Reconstruction(1e-3), discriminator=None),
    Config(generator=Optimizer(penalty=L1(1e-4), penalised=r"^hidden_\d+/kernel$", method="plain")),
]


def holding(experiment, name, value):
    """Make an experiment with anything at all in a field.

    It goes past the type checks that tests have and users have not.
    """
    experiment = copy.deepcopy(experiment)
    *parents, last = name.split(".")
    object.__setattr__(functools.reduce(getattr, parents, experiment), last, value)
    return experiment


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_json_keeps_every_field_and_type(experiment):
    kept = from_json(json.loads(json.dumps(to_json(experiment))))
    assert kept == experiment
    assert repr(kept) == repr(experiment)  # 1 == 1.0 == True, and they are not the same here


def documented_classes():
    """Return the configuration's dataclasses as syntax trees, from all modules of the package."""
    classes = []
    for module in sorted(Path(config.__file__).parent.glob("*.py")):
        for node in ast.parse(module.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.decorator_list:
                classes.append(node)
    return classes


def test_every_dataclass_and_field_is_documented():
    classes = documented_classes()
    assert {"Config", "DigitsData", "MlpGan", "Adversarial", "Optimizer", "L1"} <= {
        node.name for node in classes
    }
    for node in classes:
        assert ast.get_docstring(node), node.name
        for field, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                name = f"{node.name}.{ast.unparse(field.target)}"
                assert isinstance(after, ast.Expr), name
                assert isinstance(after.value, ast.Constant), name
                assert "\n" not in after.value.value, f"the help would break the line of {name}"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("steps", "many", "`steps` (='many') must be of type int"),
        ("steps", 1.0, "`steps` (=1.0) must be of type int"),
        ("steps", True, "`steps` (=True) must be of type int"),
        ("steps", np.int64(3), "`steps` (=np.int64(3)) must be of type int"),
        ("steps", 0, "`steps` (=0) must be at least 1"),
        ("steps", 2**31, "`steps` (=2147483648) must be at least 1 and at most 2147483647"),
        ("steps", 10**400, "`steps` (=1000"),
        (
            "batch_size",
            2**31,
            "`batch_size` (=2147483648) must be at least 1 and at most 2147483647",
        ),
        (
            "model.generator_hidden",
            (8, 10**12),
            "`model.generator_hidden[1]` (=1000000000000) must be at least 1 and",
        ),
        ("seed", -1, "`seed` (=-1) must be at least 0 and below 4294967296"),
        ("seed", 2**32, "`seed` (=4294967296) must be"),
        ("ema_half_life", -1, "`ema_half_life` (=-1.0) must be finite, at least 0"),
        ("parallel", "threads", "`parallel` (='threads') must be one of shard_map, pmap"),
        (
            "data",
            DigitsData,
            "`data` (=<class 'l1jax.config.data.DigitsData'>) must be of type DigitsData",
        ),
        ("data", Dcgan(), "`data` (=Dcgan) must be of type DigitsData or ImageData or"),
        ("data", None, "`data` (=None) must be of type"),
        ("data.channels", 3.0, "`data.channels` (=3.0) must be one of 1, 3"),
        ("data.channels", True, "`data.channels` (=True) must be one of 1, 3"),
        ("data.path", Path("x"), "`data.path` (=PosixPath('x')) must be of type str"),
        ("model.generator_hidden", 64, "`model.generator_hidden` (=64) must be a tuple of int"),
        (
            "model.generator_hidden",
            (64, 8.0),
            "`model.generator_hidden[1]` (=8.0) must be of type int",
        ),
        ("model.generator_hidden", (0,), "`model.generator_hidden[0]` (=0) must be at least 1"),
        ("generator", "Optimizer", "`generator` (='Optimizer') must be of type Optimizer"),
        ("generator", None, "`generator` (=None) must be of type Optimizer"),
        ("generator.b1", float("nan"), "`generator.b1` (=nan) must be finite"),
        ("generator.eps", float("inf"), "`generator.eps` (=inf) must be finite"),
        ("generator.eps", 10**400, "`generator.eps` (=inf) must be finite"),
        (
            "generator.penalty.strength",
            -1e-9,
            "`generator.penalty.strength` (=-1e-09) must be finite, at least 0",
        ),
        (
            "generator.penalty.strength",
            1e39,
            "`generator.penalty.strength` (=1e+39) must be finite, at least 0 in float",
        ),
        (
            "generator.learning_rate",
            1e300,
            "`generator.learning_rate` (=1e+300) must be finite, at least 0 in float32",
        ),
        (
            "generator.b2",
            1 - 1e-9,
            "`generator.b2` (=0.999999999) must be finite, at least 0 and below 1 in float32",
        ),
        ("generator.penalty", 1e-4, "`generator.penalty` (=0.0001) must be of type L1"),
        (
            "discriminator.penalised",
            "(",
            "`discriminator.penalised` (='(') must be a regular expression: missing )",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_by_name_value_and_requirement(name, value, words):
    with pytest.raises(InputError) as caught:
        check(holding(Config(data=ImageData("pictures")), name, value))
    assert str(caught.value).startswith(words)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


class Unshowable:
    def __repr__(self):
        raise RuntimeError("no")


def itself():
    """A list that holds itself."""
    values = []
    values.append(values)
    return values


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("model.generator_hidden", itself, "`model.generator_hidden[0]` (=["),
        ("model.generator_hidden", lambda: [8] * 100_000, "`model.generator_hidden` (=[8, 8, 8,"),
        ("model", itself, "`model` (=["),
        ("steps", lambda: 10**5000, "`steps` (=a value of type int) must be"),
        ("steps", lambda: "many " * 10**6, "`steps` (='many many"),
        ("steps", lambda: np.zeros((100, 100)), "`steps` (=array([[0., 0.,"),
        ("steps", Unshowable, "`steps` (=<Unshowable instance at "),
        ("generator.penalised", lambda: "(" * 10**6, "`generator.penalised` (='(((("),
        (
            "generator.learning_rate",
            lambda: float("nan"),
            "`generator.learning_rate` (=nan) must be finite",
        ),
    ],
)
def test_absurd_values_are_one_short_sentence(name, make, words):
    with pytest.raises(InputError) as caught:
        check(holding(Config(data=ImageData("pictures")), name, make()))
    assert str(caught.value).startswith(words)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (None, "`config` (=None) must be of type Config"),
        ([], "`config` (=[]) must be of type Config"),
        ({}, "`config` (={}) must be of type Config"),
        ({"kind": "Optimizer"}, "`config` (=Optimizer) must be of type Config"),
        ({"kind": ["Config"]}, "`config` (={'kind': ['Config']}) must be of type Config"),
        ({"kind": "Config", "stepz": 3}, "`stepz` is not a field of Config; it has data, model"),
        (
            {"kind": "Config", "generator": {"kind": "Optimizer", "lr": 1}},
            "`generator.lr` is not a field of Optimizer",
        ),
    ],
)
def test_what_is_not_an_experiment_is_refused(values, words):
    with pytest.raises(InputError) as caught:
        from_json(values)
    assert str(caught.value).startswith(words)


def test_whole_numbers_become_floats_where_floats_are_wanted():
    strength = check(Config(generator=Optimizer(penalty=L1(1)))).generator.penalty.strength
    assert type(strength) is float
    assert strength == 1.0


def test_a_list_becomes_a_tuple():
    assert check(holding(Config(), "model.generator_hidden", [8, 4])).model.generator_hidden == (
        8,
        4,
    )


def test_kinds_have_the_names_of_the_command_line():
    assert kinds("data") == {
        "digits": DigitsData,
        "image": ImageData,
        "array": ArrayData,
        "idx": IdxData,
        "stacked": StackedData,
        "mixture": MixtureData,
        "tfds": TfdsData,
        "audio": AudioData,
        "tones": TonesData,
        "topics": TopicsData,
        "text": TextData,
    }
    assert kinds("model") == {
        "mlp-gan": MlpGan,
        "dcgan": Dcgan,
        "sn-resnet": SnResnet,
        "r3gan": R3gan,
        "dense-generator": DenseGenerator,
        "flow-mlp": FlowMlp,
        "unet": Unet,
        "dit": Dit,
        "vae": Vae,
        "transformer": Transformer,
    }
    assert kinds("objective") == {
        "adversarial": Adversarial,
        "reconstruction": Reconstruction,
        "variational": Variational,
        "flow-matching": FlowMatching,
        "mean-flow": MeanFlow,
        "next-token": NextToken,
    }


def test_another_kind_takes_over_the_fields_that_both_have():
    old = ImageData("pictures", image_size=32, channels=1, crop=100)
    assert switch_kind(old, TfdsData) == TfdsData(image_size=32, channels=1, crop=100)
    assert switch_kind(old, DigitsData) == DigitsData(image_size=32)


def test_another_kind_of_model_keeps_the_norms_that_belong_to_it():
    old = MlpGan(latent_size=7, norm="layer", spectral_norm=False, classes=10)
    assert switch_kind(old, Dcgan) == Dcgan(latent_size=7, norm="batch", classes=10)
    assert switch_kind(old, SnResnet) == SnResnet(
        latent_size=7, norm="none", spectral_norm=True, classes=10
    )


def test_differences_name_the_field_and_both_values():
    new = Config(
        batch_size=32, generator=Optimizer(penalty=L1(1e-4)), model=MlpGan(generator_hidden=(8,))
    )
    assert sorted(differences(Config(), new)) == [
        "batch_size: 64 → 32",
        "generator.penalty.strength: 0.0 → 0.0001",
        "model.generator_hidden: [256, 256] → [8]",
    ]


def test_differences_name_the_kind_and_not_its_fields():
    assert differences(Config(), Config(model=Dcgan(latent_size=7))) == [
        "model.kind: MlpGan → Dcgan"
    ]
    assert differences(Config(discriminator=None), Config()) == [
        "discriminator.kind: absent → Optimizer"
    ]
    assert differences(Config(), Config(discriminator=None)) == [
        "discriminator.kind: Optimizer → absent"
    ]


def test_what_changes_no_step_may_differ():
    free = Config(
        data=ImageData("elsewhere"), steps=1, log_every=2, sample_every=3, checkpoint_every=4,
        keep_checkpoints=5, parallel="pmap", resident_mib=0, workers=3, cache=False,
    )  # fmt: skip
    assert differences(Config(data=ImageData("here")), free) == []
    assert (
        differences(
            Config(data=TfdsData("mnist")), Config(data=TfdsData("mnist", data_dir="there"))
        )
        == []
    )
    told = ImageData(
        "here", labels="none", on_error="skip", most_pixels=10**6
    )  # the fingerprint tells if it matters
    moved = [Config(origin=Origin(path, step=3, fingerprint="same")) for path in ("/a", "/b")]
    assert differences(*moved) == []
    assert differences(Config(origin=Origin(fingerprint="a")), Config(origin=Origin())) == [
        "origin.fingerprint: a → "
    ]
    assert differences(Config(data=ImageData("here")), Config(data=told)) == []


def test_free_fields_exist():
    tops = {f.name for f in dataclasses.fields(Config)}
    nested = {f"data.{f.name}" for kind in kinds("data").values() for f in dataclasses.fields(kind)}
    nested |= {f"origin.{f.name}" for f in dataclasses.fields(Origin)}
    assert tops | nested >= FREE_FIELDS
    required = (
        "seed steps batch_size checkpoint_every sample_every log_every data model objective "
        "generator discriminator"
    )
    assert set(required.split()) <= tops  # what other code may rely on
