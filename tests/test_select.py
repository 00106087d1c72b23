"""`python -m l1jax.select` from the first flag to the refitted run, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from l1jax import sample, select
from l1jax.config import InputError
from l1jax.reporting.strength_path import show_path

pytestmark = pytest.mark.usefixtures("one_device")

TINY = (
    "--config vae_digits --model.latent-size 3 --model.hidden 12 --batch-size 16 --steps 6 "
    "--log-every 3 --sample-every 6 --checkpoint-every 6 --generator.learning-rate 5e-3"
).split()
PATH = [*TINY, "--strengths", "1e-2:10:3", "--folds", "2"]
GRID = (
    "--model.latent-size 3 --model.generator-hidden 12 --model.discriminator-hidden 12 "
    "--batch-size 16 --steps 4 --log-every 2 --sample-every 4 --checkpoint-every 4 "
    "--grid objective.gamma 0.01 0.1 --folds 1 --holdout 0.3"
).split()


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("selected") / "path"
    assert select.main([*PATH, "--workdir", str(workdir), "--debias-steps", "3"]) == 0
    return workdir


@pytest.mark.slow
def test_every_strength_has_its_row(selected):
    path = json.loads((selected / "path.json").read_text())
    assert [point["strength"] for point in path["points"]] == pytest.approx([0, 1e-2, 10**-0.5, 10])
    zeros = [point["zeros"] for point in path["points"]]
    assert zeros[0] == 0
    assert zeros[-1] > 0.9
    for point in path["points"]:
        bound = point["scores"]["log_likelihood"]
        assert bound["mean"] == pytest.approx(np.mean(bound["each"]))
        assert bound["standard_error"] == pytest.approx(np.std(bound["each"], ddof=1) / np.sqrt(2))
    means = [point["scores"]["log_likelihood"]["mean"] for point in path["points"]]
    assert path["minimum"]["index"] == int(np.argmax(means))
    assert path["criterion"] == "log_likelihood"
    assert "2 folds" in path["protocol"]


@pytest.mark.slow
def test_the_plots_are_there(selected):
    for name in ("path.png", "samples.png"):
        with Image.open(selected / name) as image:
            assert min(image.size) > 200
            assert np.ptp(np.asarray(image.convert("L"))) > 200


@pytest.mark.slow
def test_the_refitted_run_is_an_ordinary_one(selected, tmp_path):
    chosen = json.loads((selected / "path.json").read_text())["chosen"]["strength"]
    refit = selected / f"refit-{chosen:.4g}"
    config = json.loads((refit / "config.json").read_text())
    assert config["generator"]["penalty"]["strength"] == chosen
    assert config["steps"] == 9
    if chosen:
        assert config["generator"]["debias_after"] == 6
    output = tmp_path / "images.npz"
    assert sample.main(["--workdir", str(refit), "--count", "3", "--output", str(output)]) == 0
    assert np.load(output)["images"].shape == (3, 8, 8, 1)


@pytest.mark.slow
def test_strengths_that_agree_to_four_digits_are_refitted_in_two_folders(selected):
    chosen = json.loads((selected / "path.json").read_text())["chosen"]["strength"]
    folder = selected / f"refit-{chosen:.4g}"
    other = float(np.nextafter(chosen, 1e9))
    assert select.refit_folder(selected, "generator", chosen) == folder
    assert select.refit_folder(selected, "generator", other).name == f"refit-{other!r}"
    assert select.refit_folder(selected, "generator", 2e-3).name == "refit-0.002"


@pytest.mark.slow
def test_another_rule_needs_no_new_training(selected, monkeypatch):
    monkeypatch.setattr("l1jax.selection.stages.train_stage", None)
    assert (
        select.main(
            [
                *PATH,
                "--workdir",
                str(selected),
                "--zeros",
                "0.9",
                "--precision",
                "1e6",
                "--no-refit",
            ]
        )
        == 0
    )
    path = json.loads((selected / "path.json").read_text())
    found = path["points"][path["chosen"]["index"]]["zeros"]
    assert found >= 0.9


@pytest.mark.slow
def test_another_path_in_its_place_is_refused(selected, tmp_path):
    with pytest.raises(InputError, match=r"another path \(folds was 2\)"):
        select.main([*PATH, "--folds", "3", "--workdir", str(selected)])
    with pytest.raises(InputError, match=r"another experiment \(.*batch_size"):
        select.main([*PATH, "--batch-size", "32", "--workdir", str(selected)])
    with pytest.raises(
        InputError, match=r"`--criterion` \(=bic\) needs runs that .* does not have"
    ):
        select.main([*PATH, "--criterion", "bic", "--workdir", str(selected)])
    with pytest.raises(InputError, match="must not be a training run's"):
        select.main([*PATH, "--workdir", str(next(selected.glob("refit-*")))])


@pytest.mark.slow
def test_one_fold_is_judged_by_what_is_held_out(tmp_path):
    flags = (
        "--strengths 1e-2,1 --folds 1 --holdout 0.3 --no-dense --no-refit "
        "--how independent --order sparse-to-dense"
    )
    assert select.main([*TINY, "--workdir", str(tmp_path / "path"), *flags.split()]) == 0
    path = json.loads((tmp_path / "path" / "path.json").read_text())
    assert [len(point["scores"]["recall"]["each"]) for point in path["points"]] == [1, 1]
    assert path["one_standard_error"] is None
    assert "held-out" in path["protocol"]


@pytest.mark.slow
def test_another_information_criterion_needs_no_new_training(tmp_path, monkeypatch):
    flags = [
        "--strengths",
        "1e-2,1",
        "--no-dense",
        "--no-refit",
        "--workdir",
        str(tmp_path / "path"),
    ]
    assert select.main([*TINY, *flags, "--criterion", "bic"]) == 0
    first = json.loads((tmp_path / "path" / "path.json").read_text())
    monkeypatch.setattr("l1jax.selection.stages.train_stage", None)
    assert select.main([*TINY, *flags, "--criterion", "aic"]) == 0
    second = json.loads((tmp_path / "path" / "path.json").read_text())
    assert second["criterion"] == "aic"
    for a, b in zip(first["points"], second["points"], strict=True):
        difference = a["scores"]["bic"]["mean"] - b["scores"]["aic"]["mean"]
        assert difference == pytest.approx(
            (np.log(first["examples"]) - 2) * a["nonzeros"], rel=1e-6
        )
    with pytest.raises(
        InputError, match=r"`--criterion` \(=recall\) needs runs that .* does not have"
    ):
        select.main([*TINY, *flags, "--criterion", "recall"])


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A grid of γ of a small GAN, of which the best value is refitted."""
    workdir = tmp_path_factory.mktemp("searched") / "grid"
    assert select.main([*GRID, "--workdir", str(workdir)]) == 0
    return workdir


@pytest.mark.slow
def test_a_grid_is_trained_scored_and_refitted_with_its_best_value(searched, capsys):
    path = json.loads((searched / "path.json").read_text())
    assert path["field"] == "objective.gamma"
    scores = [point["scores"]["kernel_distance"]["mean"] for point in path["points"]]
    assert [point["strength"] for point in path["points"]] == [0.01, 0.1]
    chosen = path["chosen"]
    assert chosen["index"] == int(np.argmin(scores))
    assert "value of the grid" in chosen["reason"]
    config = json.loads((searched / f"refit-{chosen['strength']}" / "config.json").read_text())
    assert config["objective"]["r1"] == config["objective"]["r2"] == chosen["strength"]
    shown = Console(width=120)
    show_path(path, shown)
    printed = capsys.readouterr().out
    assert "Values of objective.gamma" in printed
    assert f"objective.gamma {chosen['strength']}: the least mean score" in printed


@pytest.mark.slow
def test_a_grid_that_is_there_is_not_trained_again_and_another_is_refused(searched, monkeypatch):
    monkeypatch.setattr("l1jax.selection.stages.train_stage", None)
    flags = [*GRID, "--workdir", str(searched), "--no-refit"]
    assert select.main([*flags, "--criterion", "recall"]) == 0
    flags[flags.index("0.1")] = "0.2"
    with pytest.raises(InputError, match=r"another path \(grid was"):
        select.main(flags)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--strengths 1e-3", "at least two"),
        ("--strengths 1e-3,-1,2", "at least 0"),
        ("--strengths 1e-2,1e-3", "must increase"),
        ("--strengths many", "must be numbers"),
        ("--strengths auto", "auto:8"),
        ("--folds 0", "`--folds` (=0) must be at least 1"),
        ("--folds 1", "`--folds` (=1) must be at least 2, or --holdout"),
        ("--folds 2000", "`folds` (=2000) must be at most"),
        ("--zeros 1", "`--zeros` (=1.0) must be at least 0 and below 1"),
        (
            "--worse 0.1",
            "must be 0 where the criterion is log_likelihood, the default of this model",
        ),
        (
            "--worse 0.1 --criterion bic",
            "`--worse` (=0.1) must be 0 where the criterion is bic: such",
        ),
        ("--worse 0.1 --criterion recall --no-dense", "`--worse` (=0.1) must be 0 with --no-dense"),
        (
            "--worse 0.1 --criterion recall --no-dense --strengths 1e-3,1",
            "must be 0 with --no-dense",
        ),
        ("--worse nan --criterion recall", "`--worse` (=nan) must be at least 0 and finite"),
        ("--precision nan", "`--precision` (=nan) must be greater than 1"),
        ("--debias-steps -1", "`--debias-steps` (=-1) must be at least 0"),
        ("--debias-steps 3 --no-refit", "`--debias-steps` (=3) must be 0 with --no-refit"),
        (
            "--debias-steps 3 --generator.method subgradient",
            "`debias_after` (=6) must be 0 but for metric",
        ),
        ("--folds 1 --holdout 0.002", "`--holdout` (=0.002) must leave at least 6 images"),
        ("--worse 0.1 --zeros 0.5 --criterion frechet_distance", "0 where --zeros is the target"),
        ("--precision 1", "greater than 1"),
        ("--halvings 1 --how warm", "--how together"),
        (
            "--network discriminator",
            "`--network` (=discriminator) must be one that the experiment has",
        ),
        ("--generator.penalty l1-ball", "must have a strength to choose"),
        (
            "--generator.sparsity-target 0.5 --generator.penalty.strength 1",
            "0, because it moves the strength",
        ),
        ("--resident-mib 0", "`resident_mib` (=0) must hold all images"),
        ("--config digits --criterion bic", "a GAN has none"),
        ("--grid generator.learning-rate 1e-3", "at least two finite values"),
        ("--grid objective.gamma 1 2", "needs a GAN with a gradient penalty"),
        ("--grid objective.beta 1 2 --zeros 0.5", "`--zeros` (=0.5) must be left out with --grid"),
        ("--grid encoder.b2 0.9 1", "`encoder.b2` (=1.0) must be finite, at least 0 and below 1"),
    ],
)
def test_it_refuses(arguments, words, tmp_path):
    flags = [*TINY, "--workdir", str(tmp_path / "path"), *arguments.split()]
    if "--config digits" in arguments:
        flags = ["--workdir", str(tmp_path / "path"), *arguments.split()]
    with pytest.raises(InputError) as refusal:
        select.main(flags)
    assert words in str(refusal.value)
    assert not (tmp_path / "path" / "path").exists(), "nothing is trained first"
