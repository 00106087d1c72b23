"""Errors of shared code name the flags of the command that met them."""

import pytest

from l1jax.cli.flag_errors import rename_flags, translate_errors, translate_flags
from l1jax.cli.flag_names import flag_names
from l1jax.config import InputError
from l1jax.evaluate import EvaluateOptions
from l1jax.sample import SampleOptions


@pytest.mark.parametrize(
    ("sentence", "wanted"),
    [
        ("give --data.path FOLDER.", "give --path FOLDER."),
        ("`--data.path` (=x) is empty.", "`--path` (=x) is empty."),
        ("--data.pathless and --data.path.x stay", "--data.pathless and --data.path.x stay"),
        ("ends with --data.path", "ends with --path"),
        ("ends with --data.path.", "ends with --path."),
    ],
)
def test_whole_flags_are_renamed(sentence, wanted):
    assert rename_flags(sentence, {"--data.path": "--path"}) == wanted


@pytest.mark.parametrize(
    ("options", "sentence", "wanted"),
    [
        (SampleOptions, "give another --workdir or --step.", "give another --workdir or --step."),
        (
            SampleOptions,
            "give another --workdir, or --overwrite to start over.",
            "give another --workdir, or --overwrite to start over; --overwrite is a flag of "
            "python -m l1jax.train.",
        ),
        (
            EvaluateOptions,
            "leave it out with --data.on-error skip, or give --data.path or --data.labels none.",
            "leave it out with --data.on-error skip, or give --path or --data.labels none; "
            "--data.on-error and --data.labels are flags of python -m l1jax.train.",
        ),
        (
            EvaluateOptions,
            "give --data idx with its folder as --data.path.",
            "give --data idx with its folder as --path; --data is a flag of python -m l1jax.train.",
        ),
        (EvaluateOptions, "run `x --data-dir y`.", "run `x --data-dir y`."),
    ],
)
def test_flags_of_training_are_said_to_be_those(options, sentence, wanted):
    assert translate_flags(flag_names(options), sentence, {"--data.path": "--path"}) == wanted


def test_an_error_is_raised_in_other_words_and_others_pass():
    @translate_errors(SampleOptions, {"--data.path": "--path"})
    def fail(error):
        raise error

    with pytest.raises(InputError, match=r"^give --path\.$"):
        fail(InputError("give --data.path."))
    same = InputError("give --count.")
    with pytest.raises(InputError) as caught:
        fail(same)
    assert caught.value is same
    with pytest.raises(KeyError):
        fail(KeyError("--data.path"))
