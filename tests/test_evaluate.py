"""What the command that evaluates a run says and writes."""

import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from generators import experiment, generator

from l1jax import evaluate, train
from l1jax.config import DigitsData, InputError
from l1jax.evaluation import source_classifier
from l1jax.evaluation.classifier import Classifier
from l1jax.serialization.model_folder import write_model

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a few steps."""
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    flags = ["--steps=20", "--log-every=20", "--objective.r1=0", "--objective.r2=0"]
    assert train.main([f"--workdir={workdir}", *flags]) == 0
    return workdir


EXPECTED_REMARKS = (
    "precision alone misleads",
    "the generated images are unlike the real ones",
    "the Fréchet distances of 200 images are too large",
)


def evaluated(workdir, *arguments, samples=200):
    assert evaluate.main([f"--workdir={workdir}", f"--samples={samples}", *arguments]) == 0
    return json.loads((workdir / "evaluation.json").read_text())


@pytest.mark.slow
def test_numbers_are_the_same_again_and_stand_beside_how_they_were_taken(trained, capsys):
    result = evaluated(trained, "--seeds=2")
    again = trained / "again.json"
    assert evaluate.main([f"--again={trained / 'evaluation.json'}", f"--output={again}"]) == 0
    assert result == json.loads(again.read_text())
    assert result["protocol"]["flags"]["workdir"] == "./."
    assert result["protocol"]["flags"]["step"] == 20
    assert result["step"] == 20
    assert "200 of 1,797 training images" in result["protocol"]["real"]
    assert "held-out accuracy" in result["features"]["classifier"]["protocol"]
    assert list(result["features"]) == ["pixels", "classifier", "random"]
    for view in result["features"].values():
        scores = view["frechet_distance"]
        assert scores["mean"] == np.mean(scores["each"])
        assert scores["deviation"] == np.std(scores["each"], ddof=1)
        assert (
            scores["mean"] > 5 * view["real_against_real"]["frechet_distance"]
        )  # 20 steps are few
        assert view["coverage"]["mean"] < 0.2 < 0.8 < view["real_against_real"]["coverage"]
    assert result["modes"]["of"] == 10
    assert result["modes"]["modes"]["mean"] < 10
    classes = result["modes"]["classes"]
    np.testing.assert_allclose(np.sum([own["generated"] for own in classes], 0), [1, 1])
    unseen = [own["name"] for own in classes if not any(own["generated"])]
    assert result["modes"]["missing"] == unseen
    assert (
        sum(layer["entries"] for layer in result["zeros"]["layers"])
        == 64 * 256 + 256 * 256 + 256 * 64
    )
    for remark in result.get("remarks", []):
        assert remark.startswith(EXPECTED_REMARKS)  # 20 steps are few
    said = capsys.readouterr().out
    accuracy = result["features"]["classifier"]["accuracy"]
    assert accuracy == result["modes"]["accuracy"] > 0.9
    assert f"held-out accuracy {accuracy:.4f}" in said
    assert "Fréchet" in said
    assert "hidden_1" in said
    assert f"{result['features']['pixels']['kernel_distance']['mean']:.3g}" in said


@pytest.mark.slow
def test_the_classifier_is_not_trained_on_held_out_images(tmp_path, monkeypatch):
    flags = ["--steps=10", "--log-every=10", "--holdout=0.25"]
    assert train.main([f"--workdir={tmp_path / 'digits'}", *flags]) == 0
    sizes = []

    def refuse(images, labels, folder):
        sizes.append(len(images))
        raise ValueError("not now")

    monkeypatch.setattr(source_classifier, "train_classifier", refuse)
    result = evaluated(tmp_path / "digits", "--seeds=1", samples=40)
    assert "held-out images" in result["protocol"]["real"]
    held_out = int(result["protocol"]["real"].split(" of ")[1].split()[0].replace(",", ""))
    assert sizes == [1_797 - held_out]
    assert set(result["features"]) == {"pixels", "random"}
    assert result["remarks"][0] == "there is no classifier of these labels: not now."


NEAR_CHANCE = Classifier({}, 10, (8, 8, 1), 20 / 180, "", 180, 0.125)


@pytest.mark.slow  # tests/evaluation/test_chance.py has when it is so
def test_a_classifier_near_chance_is_not_used_and_that_is_said(trained, monkeypatch, capsys):
    monkeypatch.setattr(source_classifier, "train_classifier", lambda *_, folder: NEAR_CHANCE)
    result = evaluated(trained, "--seeds=1", samples=40)
    assert set(result["features"]) == {"pixels", "random"}
    assert "modes" not in result
    remark = result["remarks"][0]
    assert "20 of 180 held-out images correctly" in remark
    assert remark in re.sub(r"\s+", " ", capsys.readouterr().out)


def exported(folder, change):
    """A model of digits with other weights."""
    own = generator("mlp")
    changed = own._replace(params=jax.tree_util.tree_map_with_path(change, own.params))
    write_model(folder, changed, replace(experiment("mlp"), data=DigitsData()), 7, {})
    return folder


def black(path, leaf):
    last = path[0].key == "image"
    return jnp.full_like(leaf, -100) if last and leaf.ndim == 1 else jnp.zeros_like(leaf)


@pytest.mark.parametrize(
    "change", [lambda _, leaf: jnp.zeros_like(leaf), black], ids=["grey", "black"]
)
@pytest.mark.slow
def test_images_that_are_all_equal_are_reported_and_have_finite_scores(tmp_path, capsys, change):
    folder = exported(tmp_path / "model", change)
    assert evaluate.main([f"--model={folder}", "--samples=40", "--seeds=2"]) == 0
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "all 40 generated images of each seed are equal" in said
    assert not re.search(r"\b(nan|inf)\b", said)

    def refuse(constant):
        raise AssertionError(constant)

    result = json.loads((folder / "evaluation.json").read_text(), parse_constant=refuse)
    assert result["images"]["different"]["each"] == [1, 1]


def huge(_, leaf):
    return jnp.where(leaf < 0, -3e38, 3e38).astype(leaf.dtype)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda _, leaf: jnp.full_like(leaf, jnp.nan),
            r"The generator of step 7 has \d+ weights that are NaN",
        ),
        (
            huge,
            r"The generator of step 7 draws images that are NaN or infinite \(\d+ of 16\), though",
        ),
    ],
    ids=["weights", "images"],
)
def test_images_that_are_not_numbers_are_refused_in_a_sentence(
    tmp_path, monkeypatch, change, words
):
    monkeypatch.setattr(source_classifier, "train_classifier", lambda *_, folder: NEAR_CHANCE)
    folder = exported(tmp_path / "model", change)
    with pytest.raises(InputError, match=words):
        evaluate.main([f"--model={folder}", "--samples=40", "--seeds=1"])
    assert not (folder / "evaluation.json").exists()


@pytest.mark.slow
def test_points_are_evaluated_by_modes(tmp_path):
    flags = ["--config=gaussians", "--steps=10", "--log-every=10", "--model.generator-hidden", "8"]
    assert train.main([f"--workdir={tmp_path / 'points'}", "--data.count=500", *flags]) == 0
    with pytest.raises(InputError, match="`--likelihood` must be left out here: only flows"):
        evaluated(tmp_path / "points", "--likelihood")
    result = evaluated(tmp_path / "points", samples=600)  # more than there are
    assert result["remarks"] == [
        "600 generated points of each seed are compared with all 500 training points: there are no "
        "more."
    ]
    assert result["protocol"]["real"].startswith("500 of 500 training points")
    assert result["protocol"]["generated"].startswith("600 of the averaged generator")
    assert result["modes"]["of"] == 25
    assert 0 <= result["modes"]["high_quality"]["mean"] < 0.3
    assert "features" not in result


@pytest.mark.slow
def test_a_flow_is_chosen_and_evaluated_by_its_likelihood(tmp_path):
    flags = ["--config=gaussians_flow", "--steps=8", "--log-every=4", "--checkpoint-every=4"]
    flags += ["--data.count=500", "--holdout=0.2", "--best-by=bound", "--model.hidden", "8"]
    assert train.main([f"--workdir={tmp_path / 'flow'}", *flags]) == 0
    lines = (tmp_path / "flow" / "metrics.jsonl").read_text().splitlines()
    best = max(json.loads(line).get("held_out/bound", -np.inf) for line in lines)
    # The held-out points are all judged there too, by other random signs.
    found = evaluated(tmp_path / "flow", "--likelihood", samples=100)["likelihood"]
    assert found["nats"] == pytest.approx(best, abs=4 * found["standard_error"])
    assert found["protocol"].endswith("100 of the real examples")
    once = evaluated(tmp_path / "flow", "--method=euler", "--sampling-steps=1", samples=100)
    assert once["protocol"]["sampler"] == "euler, steps: 1"


@pytest.mark.slow
def test_an_autoencoders_likelihood_is_bounded(tmp_path, capsys):
    flags = ["--config=vae_digits", "--steps=10", "--log-every=10", "--model.hidden", "16"]
    assert train.main([f"--workdir={tmp_path / 'vae'}", *flags]) == 0
    bound = evaluated(tmp_path / "vae", "--seeds=1", samples=40)["likelihood"]
    np.testing.assert_allclose(
        bound["bits_per_dimension"], -bound["nats"] / (64 * np.log(2)), rtol=1e-6
    )
    logged = json.loads((tmp_path / "vae" / "metrics.jsonl").read_text().splitlines()[-1])
    assert bound["nats"] > logged["bound"]  # the mean over the first steps, with one draw
    assert "bits/dim" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds=0"], "`--seeds` (=0)"),
        (["--samples=3"], "`--samples` (=3)"),
        (["--samples=-1"], "`--samples` (=-1)"),
        (["--output=/nowhere/numbers.json"], "folder that exists"),
        (["--output=RUN"], "must be a file, and is a folder"),
        (["--output=numbers/"], "must be a file, and is a folder"),
        (["--output=/proc/numbers.json"], "must be writable"),
        (
            ["--inception=/nowhere/inception.safetensors"],
            "`--inception` (=/nowhere/inception.safetensors)",
        ),
        (["--inception=RUN/config.json"], "`--inception` (=RUN/config.json) cannot be used"),
    ],
)
def test_flags_are_checked_before_anything_is_read(tmp_path, monkeypatch, arguments, words):
    monkeypatch.setattr(evaluate, "open_generator", None)
    (tmp_path / "config.json").write_text("{}")
    arguments = [argument.replace("RUN", str(tmp_path)) for argument in arguments]
    with pytest.raises(InputError) as refusal:
        evaluate.main([f"--workdir={tmp_path}", *arguments])
    assert words.replace("RUN", str(tmp_path)) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--path=elsewhere"], "`--path` (='elsewhere') must be empty"),
        (["--step=7"], "`--step` (=7)"),
    ],
)
def test_what_the_run_does_not_have_is_refused_before_its_images_are_read(
    trained, monkeypatch, arguments, words
):
    monkeypatch.setattr(evaluate, "read_real_images", None)
    with pytest.raises(InputError) as refusal:
        evaluate.main([f"--workdir={trained}", "--samples=50", *arguments])
    assert words in str(refusal.value)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"`--workdir` .* must hold a training run"):
        evaluate.main([f"--workdir={tmp_path}"])
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match=r"`--model` .* must hold a training run"):
        evaluate.main([f"--model={tmp_path}"])
