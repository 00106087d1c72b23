import json
import re
import sys

import pytest

from l1jax.cli.experiment import parse_experiment
from l1jax.cli.experiment_file import experiments_folder, load_experiment
from l1jax.cli.flag_names import flag_names
from l1jax.cli.flags import parse_path
from l1jax.cli.process import run_command
from l1jax.config import (
    L1,
    Adversarial,
    Config,
    Dcgan,
    DenseGenerator,
    DigitsData,
    ImageData,
    InputError,
    Optimizer,
    Reconstruction,
    check,
    to_json,
)
from l1jax.sample import SampleOptions
from l1jax.train import TrainOptions

SMALL = "from l1jax.config import *\n"
WRONG_TYPE = """
def get_config():
    config = Config()
    # This goes past the type checks that tests have and users have not.
    object.__setattr__(config, "steps", "3")
    return config
"""
CYCLE = """
def get_config():
    layers = []
    layers.append(layers)
    config = Config()
    object.__setattr__(config, "model", MlpGan())
    object.__setattr__(config.model, "generator_hidden", layers)
    return config
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write an experiment file and go to its folder."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="own.py"):
        (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
        return name

    return write


def leaves(values, prefix=""):
    """Dotted names of everything in an experiment's JSON form."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        elif name != "kind" and value is not None:  # a network that is not there has no flags
            yield f"{prefix}{name}"


def parse(*arguments):
    return parse_experiment(TrainOptions, arguments, "prog")


def refusal(*arguments):
    with pytest.raises(InputError) as caught:
        parse(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("name", sorted(path.stem for path in experiments_folder().glob("*.py")))
def test_experiments_that_come_with_l1jax_can_be_run_by_name(name):
    experiment = parse("--config", name).experiment
    assert experiment == check(experiment)


def test_without_config_it_is_the_digits():
    options = parse()
    assert options.config == "digits"
    assert options.experiment == load_experiment("digits")
    assert isinstance(options.experiment.data, DigitsData)
    assert options.workdir == "runs/digits"


def test_defaults_are_those_of_the_experiment_and_flags_change_them(write):
    file = write(
        SMALL + "def get_config(): return Config(steps=7, model=Dcgan(channels=3), "
        "generator=Optimizer(b1=0.1))"
    )
    options = parse(
        "--config", file, "--steps", "9", "--generator.penalty.strength", "1e-4", "--workdir", "w"
    )
    expected = Config(
        steps=9, model=Dcgan(channels=3), generator=Optimizer(b1=0.1, penalty=L1(1e-4))
    )
    assert options.experiment == expected
    assert (options.workdir, options.model, options.resume, options.overwrite) == (
        "w",
        "dcgan",
        True,
        False,
    )


@pytest.mark.parametrize("flag", ["--batch-size=32", "--batch_size=32", "--batch_size 32"])
def test_spellings_of_a_flag(flag):
    assert parse(*flag.split()).experiment.batch_size == 32


@pytest.mark.parametrize(
    "arguments", [["--data", "image", "--data.path", "x"], ["--data.path=x", "--data=image"]]
)
def test_data_switches_the_kind_before_or_after_its_flags(arguments):
    options = parse(*arguments)
    assert options.experiment.data == ImageData("x", image_size=8)  # the digits' size is taken over
    assert options.data == "image"


def test_model_and_objective_switch_together(write):
    options = parse(
        "--model",
        "dense-generator",
        "--objective",
        "reconstruction",
        "--objective.activity-strength",
        "1",
    )
    assert options.experiment.model == DenseGenerator(latent_size=64)
    assert options.experiment.objective == Reconstruction(1.0)


def test_an_adversary_is_given_an_optimiser(write):
    file = write(
        SMALL
        + "def get_config(): return Config(model=DenseGenerator(), objective=Reconstruction(), "
        "discriminator=None)"
    )
    arguments = (
        "--config",
        file,
        "--model",
        "mlp-gan",
        "--objective",
        "adversarial",
        "--discriminator.b1",
        "0.25",
    )
    experiment = parse(*arguments).experiment
    assert experiment.objective == Adversarial()
    assert experiment.discriminator == Optimizer(b1=0.25)
    assert parse("--config", file).experiment.discriminator is None
    assert "give --objective adversarial to have it" in refusal(
        "--config", file, "--discriminator.b1", "0.25"
    )


def test_tuples_and_regular_expressions_can_be_typed():
    experiment = parse(
        "--model.generator-hidden", "8", "4", "--generator.penalised", r"^(a|b)\d/kernel$"
    ).experiment
    assert experiment.model.generator_hidden == (8, 4)
    assert experiment.generator.penalised == r"^(a|b)\d/kernel$"
    assert parse("--model.generator-hidden").experiment.model.generator_hidden == ()


@pytest.mark.parametrize("kind", [[], ["--model", "dcgan", "--data", "image"]])
def test_help_shows_every_flag_with_type_meaning_and_default_of_the_experiment(kind, write, capsys):
    file = write(
        SMALL
        + "def get_config(): return Config(steps=1234, generator=Optimizer(learning_rate=0.0125))"
    )
    with pytest.raises(SystemExit) as stopped:
        parse("--config", file, *kind, "--help-all")
    assert stopped.value.code == 0
    text = re.sub(r"[│|\s]+", " ", capsys.readouterr().out)
    assert (
        "--steps INT Generator steps in all, those before a resume included. (default: 1234)"
        in text
    )
    assert "--generator.learning-rate FLOAT The step size. (default: 0.0125)" in text
    values = json.loads(json.dumps(to_json(parse("--config", file, *kind).experiment)))
    paths = [f"--{path.replace('_', '-')}" for path in leaves(values)]
    assert len(paths) > 25
    assert [path for path in paths if f"{path} " not in text and f"{path}, " not in text] == []
    assert ("--data.path" in paths) == ("--model.channels" in paths) == bool(kind)


def test_help_of_sample_lists_its_flags(capsys):
    from l1jax import sample

    with pytest.raises(SystemExit):
        sample.main(["--help"])
    assert set(flag_names(SampleOptions)) <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--generator.learning-rat", "1"],
            "`--generator.learning-rat` is not a flag here; the nearest: --generator.lea",
        ),
        (["--batch=3"], "`--batch` is not a flag here; the nearest: --batch-size"),
        (
            ["--strength", "1"],
            "the nearest: --generator.penalty.strength, --discriminator.penalty.strength",
        ),
        (
            ["--data.path", "x"],
            "`--data.path` is not a flag here; give --data image or --data array or --data idx or",
        ),
        (
            ["--model.channels", "8"],
            "give --model dcgan or --model r3gan or --model vae or --model unet to have it",
        ),
        (["--bogus", "1"], "`--bogus` is not a flag here (see prog --help)."),
        (["--help", "--bogus"], "`--bogus` is not a flag here"),
        (["stray"], "Unrecognized options: stray (see prog --help)."),
        (["--data"], "Missing value for argument '--data'; expected 1 value"),
        (["--data", "--seed", "3"], "Missing value for argument '--data'"),
        (["--config"], "Missing value for argument '--config'"),
        (
            ["--data", "video"],
            "invalid choice 'video' for argument '--data'; expected one of ('digits', 'image', "
            "'array',",
        ),
        (
            ["--steps", "1e3"],
            "Error parsing --steps: invalid literal for int() with base 10: '1e3' (see prog "
            "--help).",
        ),
        (
            ["--generator.b1", "half"],
            "Error parsing --generator.b1: could not convert string to float: 'half'",
        ),
        (["--model.generator-hidden", "8", "x"], "Error parsing --model.generator-hidden"),
        (["--generator.b1", "1"], "`generator.b1` (=1.0) must be finite, at least 0 and below 1."),
        (
            ["--generator.penalised", "("],
            "`generator.penalised` (='(') must be a regular expression",
        ),
    ],
)
def test_a_wrong_flag_or_value_is_one_sentence(arguments, words, capsys):
    assert words in refusal(*arguments)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_without_box_characters_changes_no_sentence(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="ascii") as ascii_only:
        monkeypatch.setattr(sys, "stdout", ascii_only)
        assert (
            refusal("--data")
            == "Missing value for argument '--data'; expected 1 values (see prog --help)."
        )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ndef f(:\n", "fails at line 2: SyntaxError: invalid syntax."),
        ("x = 1\n\nraise ValueError('first.\\nsecond')", "fails at line 3: ValueError: first."),
        (
            "def get_config():\n    return 1 / 0",
            "fails at line 2: ZeroDivisionError: division by zero.",
        ),
        (
            "import os\ndef get_config():\n    os.stat('nowhere')",
            "fails at line 3: FileNotFoundError: ",
        ),
        (
            "import nowhere_to_be_found",
            "fails at line 1: ModuleNotFoundError: No module named 'nowhere_to_be_found'.",
        ),
        ("import sys\nsys.exit(0)", "fails at line 2: SystemExit: 0."),
        ("x = 1", "must define `get_config() -> Config`."),
        ("get_config = 3", "must define `get_config() -> Config`."),
        ("def get_config(): pass", "must return an l1jax.config.Config, not NoneType."),
        ("def get_config(): return {'steps': 3}", "must return an l1jax.config.Config, not dict."),
        (
            "def get_config(size): pass",
            "fails: TypeError: get_config() missing 1 required positional argument: 'size'.",
        ),
        (SMALL + WRONG_TYPE, "`steps` (='3') must be of type int."),
        (SMALL + "def get_config(): return Config(stepz=3)", "at line 2: TypeError: "),
        ("\0", "source code string cannot contain null bytes."),
        ("raise KeyboardInterrupt", "fails at line 1: KeyboardInterrupt."),
        ("class Own(BaseException): pass\nraise Own('stop')", "fails at line 2: Own: stop."),
        (
            "def get_config(): return get_config()",
            "fails at line 1: RecursionError: maximum recursion depth exceeded",
        ),
        (
            "class Own(Exception):\n    def __str__(self): return 1 / 0\nraise Own",
            "fails at line 3: Own.",
        ),
        ("raise ValueError('long' * 10**6)", "fails at line 1: ValueError: longlong"),
        ("(" * 1000, "SyntaxError: too many nested parentheses."),
        (
            SMALL + "def get_config(): return Config",
            "must return an l1jax.config.Config, not type.",
        ),
        (SMALL + CYCLE, "must be of type int."),
        ("x = '\udcff'", "SyntaxError: "),
    ],
)
def test_a_broken_experiment_file_is_one_sentence_with_the_line(text, words, write):
    file = write(text)
    message = refusal("--config", file)
    assert words in message
    assert file in message or words in (
        "`steps` (='3') must be of type int.",
        "must be of type int.",
    )
    assert len(message) < 500


def test_an_unknown_field_in_a_file_names_the_nearest(write):
    file = write(
        SMALL + "def get_config():\n    return Config(generator=Optimizer(learning_rat=3))"
    )
    assert re.search(r"'learning_rat'.*learning_rate", refusal("--config", file))


@pytest.mark.parametrize("name", ["nowhere", "nowhere.py", "", "."])
def test_a_missing_experiment_names_those_there_are(name, write):
    message = refusal(f"--config={name}")
    assert message.startswith(
        f"`--config` (={name}) must be a Python file with `get_config`, or one of: "
    )
    assert "digits" in message


def test_an_experiment_file_without_end_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("own.py", "wb") as file:
        file.truncate(20 * 10**9)
    assert "(=own.py) is no experiment file: it (=20,000,000,000 bytes) must have" in refusal(
        "--config", "own.py"
    )
    message = refusal("--config", "x" * 300)
    assert "must be a Python file" in message


def test_a_folder_does_not_hide_an_experiment_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse().config == "digits"


def test_a_file_is_read_anew_and_leaves_nothing_behind(write, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = write(SMALL + "def get_config(): return Config(steps=3)")
    assert load_experiment(file).steps == 3
    write(SMALL + "def get_config(): return Config(steps=4)")  # same size, same second
    assert load_experiment(file).steps == 4
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_file_may_define_dataclasses_and_have_any_suffix(write):
    text = "from __future__ import annotations\nimport dataclasses\n" + SMALL
    text += "@dataclasses.dataclass\nclass Own:\n    steps: int = 5\n"
    text += "def get_config(): return Config(steps=Own().steps)"
    assert load_experiment(write(text, "own.txt")).steps == 5


def test_paths_expand_the_home_folder_and_are_not_empty(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(parse_path("--workdir", "~/runs")) == "/home/someone/runs"
    with pytest.raises(InputError, match=r"`--workdir` is empty"):
        parse_path("--workdir", "")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("no [bold] :cat: here."), 2, "error: no [bold] :cat: here.\n"),
        (KeyboardInterrupt(), 130, "stopped at once; the last checkpoint is unchanged.\n"),
        (BrokenPipeError(), 141, ""),
        (
            MemoryError(),
            1,
            "error: there is not enough memory: give a smaller batch size, network or image "
            "size.\n",
        ),
        (None, 7, ""),
    ],
)
def test_exit_status(error, status, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prog", "--flag"])
    monkeypatch.setattr("l1jax.cli.process.silence_threads", lambda: None)  # it changes the process

    def main(arguments):
        assert arguments == ["--flag"]
        if error is not None:
            raise error
        return 7

    with pytest.raises(SystemExit) as stopped:
        run_command(main)
    assert stopped.value.code == status
    assert capsys.readouterr().err == said


def test_a_long_sentence_stays_on_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prog"])

    def main(arguments):
        raise InputError("word " * 100 + "end.")

    with pytest.raises(SystemExit):
        run_command(main)
    assert capsys.readouterr().err.count("\n") == 1
