"""A user's own data: what it must be, and each wrong thing in one sentence."""

import pickle
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from l1jax import train
from l1jax.build import image_shape
from l1jax.config import Config, CustomData, InputError, check, from_json, to_json
from l1jax.data import custom_source
from l1jax.data.opening import open_examples, open_source

GUIDE = Path(__file__).parents[2] / "docs/guides/data.md"
(MODULE,) = [
    block
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    if "def discs" in block
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder on the path with the guide's module."""
    path = tmp_path_factory.mktemp("own")
    (path / "discs_of_the_guide.py").write_text(MODULE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path)
        yield path
    sys.modules.pop("discs_of_the_guide", None)


def own(**options):
    values = to_json(Config(data=CustomData("discs_of_the_guide:discs")))
    values["data"]["options"] = options
    return from_json(values).data


def test_examples_labels_and_shape_are_the_objects(folder):
    data = own(count=50)
    source = open_source(data)
    assert (source.length, source.image_shape, image_shape(data)) == (50, (8, 8, 1), (8, 8, 1))
    made = sys.modules["discs_of_the_guide"].discs(data.options)
    np.testing.assert_array_equal(source.example(7), made.example(7))
    np.testing.assert_array_equal(source.labels, made.labels)
    again = pickle.loads(pickle.dumps(source.reopen))()
    assert again.fingerprint == source.fingerprint
    assert open_source(own(count=49)).fingerprint != source.fingerprint


def test_it_is_held_out_like_all_others(folder):
    training, held_out = open_examples(own(count=60), 0.25)
    assert training.length + held_out.length == 60
    assert 5 <= held_out.length <= 25


class Base:
    length = 4
    image_shape = (2, 2, 1)
    fingerprint = "four"
    labels = None

    def example(self, index):
        if index >= 4:
            raise IndexError("no such example")
        return np.full((2, 2, 1), index, np.uint8)


def changed(**attributes):
    return type("Changed", (Base,), attributes)()


def without(name):
    kept = {key: value for key, value in vars(Base).items() if key not in (name, "__dict__")}
    return type("Without", (), kept)()


class Drifting(Base):
    counter = iter(range(1000))

    @property
    def fingerprint(self):
        return str(next(self.counter))


class Noisy(Base):
    generator = np.random.default_rng(0)

    def example(self, index):
        return self.generator.integers(0, 255, (2, 2, 1), np.uint8)


class Growing(Base):
    def example(self, index):
        return np.zeros((2 + (index == 1), 2, 1), np.uint8)


WRONG = {
    "length": (lambda: changed(length=9), "has 9 examples, and `example.8.` fails with IndexError"),
    "no length": (lambda: changed(length=2.0), r"the `length` 2\.0, which must be a whole number"),
    "no fingerprint": (lambda: without("fingerprint"), "makes a Without without `fingerprint`"),
    "empty": (lambda: changed(fingerprint=""), "the `fingerprint` '', which must be a string"),
    "drifting": (Drifting, "has a `fingerprint` that changes, so that no run could be resumed"),
    "noisy": (Noisy, r"gives another `example\(0\)` each time: draw from the index"),
    "shape": (lambda: changed(image_shape=(2, 2)), r"`image_shape` \(2, 2\), which must be \(he"),
    "other": (
        lambda: changed(image_shape=(3, 2, 1)),
        r"gives uint8\[2, 2, 1\] as `example\(0\)`",
    ),
    "dtype": (
        lambda: changed(example=lambda self, i: np.zeros((2, 2, 1))),
        r"gives float64\[2, 2, 1\] as `example\(0\)`, which must be uint8",
    ),
    "labels": (lambda: changed(labels=[0, 1]), r"`labels` of int64\[2\], which must be 4 integers"),
    "negative": (lambda: changed(labels=[0, 1, -1, 2]), "which must be 4 integers from 0 on"),
    "fails": (lambda: 1 / 0, "fails with ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_sentence(case, monkeypatch):
    make, message = WRONG[case]
    module = types.ModuleType("wrong_data")
    module.source = lambda: make()
    monkeypatch.setitem(sys.modules, "wrong_data", module)
    data = check(Config(data=CustomData("wrong_data:source"))).data
    custom_source._open.cache_clear()
    with pytest.raises(InputError, match=message) as caught:
        open_source(data)
    assert str(caught.value).startswith("`data.factory` (=wrong_data:source) ")
    assert "\n" not in str(caught.value)


def test_an_example_that_changes_its_shape_is_refused_where_it_is_read(monkeypatch):
    module = types.ModuleType("growing_data")
    module.source = lambda: Growing()
    monkeypatch.setitem(sys.modules, "growing_data", module)
    source = open_source(check(Config(data=CustomData("growing_data:source"))).data)
    assert source.example(2).shape == (2, 2, 1)
    with pytest.raises(InputError, match=r"gives uint8\[3, 2, 1\] as `example\(1\)`"):
        source.example(1)


@pytest.mark.slow
def test_a_run_on_own_data_resumes_to_the_same_bits_and_refuses_other_data(folder):
    flags = (
        "--config dense_generator --data discs_of_the_guide:discs --data.count 40 --log-every 4 "
        "--sample-every 8 --checkpoint-every 4 --batch-size 8 --workers 0"
    ).split()
    for name, stops in {"whole": (8,), "half": (4, 8)}.items():
        for steps in stops:
            assert train.main([*flags, "--steps", str(steps), "--workdir", str(folder / name)]) == 0
    metadata = [
        (folder / name / "checkpoints/8/meta/metadata").read_text() for name in ("whole", "half")
    ]
    digests = [re.search('"digest": *"(.*?)"', text)[1] for text in metadata]
    assert digests[0] == digests[1]
    with pytest.raises(InputError, match=r"data\.options\.count: 40 → 41"):
        train.main(
            [*flags, "--data.count", "41", "--steps", "8", "--workdir", str(folder / "half")]
        )
