"""The flags that an evaluation keeps, and what `--again` says of changes, without evaluating."""

import json
from dataclasses import replace

import pytest

from l1jax.cli.evaluation_again import (
    Earlier,
    check_inputs,
    compare_with_earlier,
    describe_agreement,
    describe_changes,
    recorded_flags,
)
from l1jax.cli.evaluation_flags import parse_evaluate, read_flags
from l1jax.cli.options import EvaluateOptions
from l1jax.config import InputError

VERSIONS = {"jax": "0.10.2", "numpy": "2.3.1"}
PROTOCOL = {"flags": {}, "inputs": {}, "versions": VERSIONS, "settings": {"neighbours": 5}}


def written(folder, **flags):
    """An `evaluation.json` with these flags."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "evaluation.json"
    path.write_text(json.dumps({"protocol": {**PROTOCOL, "flags": flags}}))
    return path


def test_a_run_that_is_moved_is_still_evaluated_again(tmp_path):
    for folder in ("runs/digits/checkpoints", "photos"):
        (tmp_path / folder).mkdir(parents=True)
    options = EvaluateOptions(
        workdir=str(tmp_path / "runs/digits"),
        real=str(tmp_path / "photos"),
        real_samples=50,
        resizing="clean",
        accuracy_score=True,
        output="somewhere.json",
        distributed=True,
    )
    flags = recorded_flags(options, tmp_path / "runs/digits", 20)
    assert flags == {
        "workdir": "./.",
        "real": str(tmp_path / "photos"),
        "step": 20,
        "samples": 0,
        "real-samples": 50,
        "seeds": 3,
        "resizing": "clean",
        "image-size": 0,
        "accuracy-score": True,
        "path-length": False,
        "likelihood": False,
        "floats": "auto",
        "split": "train",
    }
    file = written(tmp_path / "runs/digits", **flags)
    (tmp_path / "runs").rename(tmp_path / "moved")
    file = tmp_path / "moved/digits/evaluation.json"
    found = read_flags([f"--again={file}"])
    expected = replace(
        options, workdir=str(file.parent), step=20, output="", distributed=False, again=str(file)
    )
    assert found == expected
    (tmp_path / "photos").rename(tmp_path / "pictures")
    with pytest.raises(InputError, match=r"of --real .*photos, which does not exist: give --real"):
        parse_evaluate([f"--again={file}"])
    moved = parse_evaluate([f"--again={file}", f"--real={tmp_path / 'pictures'}"])
    assert moved.real == str(tmp_path / "pictures")


def test_names_of_sets_stay_names_and_models_have_no_step(tmp_path):
    options = EvaluateOptions(real="mnist:3.0.1", generated=str(tmp_path))
    flags = recorded_flags(options, tmp_path, 7)
    assert flags["real"] == "mnist:3.0.1"
    assert "step" not in flags


@pytest.mark.parametrize(
    ("flags", "more", "words"),
    [
        ({"real": "mnist", "generated": "cifar10"}, ["--samples=50"], "`--samples` (=50) must be"),
        ({"real": "mnist", "generated": "cifar10"}, ["--model=m"], "--again: FILE has none"),
        ({"real": "mnist", "generated": "cifar10"}, ["--save-statistics=a.npz"], "two sets"),
        ({"real": "mnist", "colour": "red"}, [], "`--colour` is not a flag here"),
        ({"real": "mnist", "generated": "x", "seeds": "many"}, [], "FILE) cannot be used"),
        ({"real": "mnist"}, [], "Missing from python -m l1jax.evaluate"),
    ],
)
def test_flags_that_cannot_be_repeated_are_refused(tmp_path, flags, more, words):
    file = written(tmp_path, **flags)
    with pytest.raises(InputError) as refusal:
        read_flags([f"--again={file}", *more])
    assert words.replace("FILE", str(file)) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "holds no evaluation"),
        ("[]", "holds no evaluation"),
        ('{"protocol": {"real": "5 images"}}', "evaluate anew"),
        ("{", "is not valid JSON"),
    ],
)
def test_files_that_hold_no_evaluation_are_refused(tmp_path, content, words):
    file = tmp_path / "evaluation.json"
    file.write_text(content)
    with pytest.raises(InputError, match=words):
        read_flags([f"--again={file}"])
    with pytest.raises(InputError, match="is missing: give a file that"):
        read_flags([f"--again={tmp_path / 'nothing.json'}"])


def test_changed_images_and_weights_are_named_with_their_flag():
    inputs = {"real images": "a" * 64, "generator's weights": "b" * 64, "weights of clip": "c" * 64}
    earlier = Earlier("e.json", {"protocol": {**PROTOCOL, "inputs": inputs}})
    options = EvaluateOptions(workdir="run", real="photos")
    check_inputs(earlier, inputs, options)
    for name, flag in zip(inputs, ("--real", "--workdir", "--clip"), strict=True):
        with pytest.raises(InputError, match=rf"`{flag}` is not what e.json was of: .*{name} was"):
            check_inputs(earlier, {**inputs, name: "d" * 64}, options)
    with pytest.raises(InputError, match="`--path` is not"):
        check_inputs(earlier, {**inputs, "real labels": "e"}, EvaluateOptions(workdir="run"))


def test_other_versions_are_remarked_in_one_sentence():
    earlier = Earlier("e.json", {"protocol": PROTOCOL})
    assert describe_changes(earlier, PROTOCOL) == []
    later = {**PROTOCOL, "versions": {**VERSIONS, "jax": "0.11.0"}, "settings": {"neighbours": 3}}
    assert describe_changes(earlier, later) == [
        "e.json was measured with neighbours 5, now 3; jax 0.10.2, now 0.11.0: numbers may differ."
    ]


def test_numbers_are_compared_to_the_last_bit_but_times_are_not():
    score = {"mean": 0.1, "each": [0.1, 0.2]}
    result = {"protocol": {}, "features": {"pixels": score}, "sound": {"real_time_factor": 3.0}}
    earlier = Earlier("e.json", result)
    assert compare_with_earlier(earlier, {**result, "sound": {"real_time_factor": 4.0}}) == []
    other = {**result, "features": {"pixels": {"mean": 0.1, "each": [0.1, 0.2 + 2**-55]}}}
    (line,) = compare_with_earlier(earlier, other)
    assert line == "features.pixels.each.1: 0.2, now 0.20000000000000004"
    assert describe_agreement(earlier, []) == "all numbers are those of e.json, to the last bit"
    assert describe_agreement(earlier, [line]).startswith("1 number is not that of e.json: feat")
