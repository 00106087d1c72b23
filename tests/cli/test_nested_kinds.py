"""Penalties, augmentation and balance chosen from the command line."""

import pytest

from l1jax.cli.experiment import parse_experiment
from l1jax.config import Ada, Balance, GroupL1, InputError, L1Ball, Mcp
from l1jax.train import TrainOptions


def parse(*arguments):
    return parse_experiment(TrainOptions, arguments, "prog").experiment


def test_a_penalty_is_switched_with_its_own_flags_before_or_after():
    experiment = parse(
        *("--generator.penalty.groups", "input_channels", "--generator.penalty", "group-l1"),
        *("--discriminator.penalty=mcp", "--discriminator.penalty.strength", "1e-3"),
    )
    assert experiment.generator.penalty == GroupL1(
        4e-4, "input_channels"
    )  # the digits' strength is taken over
    assert experiment.discriminator.penalty == Mcp(1e-3)
    assert parse("--generator.penalty", "l1-ball").generator.penalty == L1Ball()


def test_what_is_none_can_be_had_and_left():
    objective = parse("--objective.augment", "ada", "--objective.augment.target", "0.5").objective
    assert (objective.augment, objective.balance) == (Ada(0.5), None)
    assert parse("--objective.balance", "balance").objective.balance == Balance()
    assert parse("--objective.augment", "none").objective.augment is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--generator.penalty", "lasso"],
            "invalid choice 'lasso' for argument '--generator.penalty'",
        ),
        (
            ["--generator.penalty.gamma", "3"],
            "--generator.penalty mcp or --generator.penalty group-mcp to",
        ),
        (["--objective.balance.low", "0.3"], "give --objective.balance balance to have it"),
        (["--objective.augment"], "Missing value for argument '--objective.augment'"),
        (
            [
                "--model",
                "dense-generator",
                "--objective",
                "reconstruction",
                "--objective.balance",
                "balance",
            ],
            "`--objective.balance` is not a flag here",
        ),
    ],
)
def test_a_wrong_kind_or_flag_is_one_sentence(arguments, words):
    with pytest.raises(InputError) as caught:
        parse(*arguments)
    assert words in str(caught.value)


def test_help_tells_the_kinds(capsys):
    with pytest.raises(SystemExit):
        parse("--help-all")
    text = " ".join(capsys.readouterr().out.split())
    for flag in (
        "generator.penalty",
        "discriminator.penalty",
        "objective.augment",
        "objective.balance",
    ):
        assert f"--{flag} {{" in text
