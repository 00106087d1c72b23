"""What the command that evaluates a run says and writes."""

import json

import numpy as np
import pytest

from l1jax import evaluate, train
from l1jax.config import InputError

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a few steps."""
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    assert train.main([f"--workdir={workdir}", "--steps=20", "--log-every=20"]) == 0
    return workdir


def evaluated(workdir, *arguments, samples=200):
    assert evaluate.main([f"--workdir={workdir}", f"--samples={samples}", *arguments]) == 0
    return json.loads((workdir / "evaluation.json").read_text())


def test_numbers_are_the_same_again_and_stand_beside_how_they_were_taken(trained, capsys):
    result = evaluated(trained, "--seeds=2")
    assert result == evaluated(trained, "--seeds=2")
    assert result["step"] == 20
    assert "200 of 1,797 training images" in result["protocol"]["real"]
    assert "held-out accuracy" in result["features"]["classifier"]["protocol"]
    for view in result["features"].values():
        scores = view["frechet_distance"]
        assert scores["mean"] == np.mean(scores["each"])
        assert scores["deviation"] == np.std(scores["each"], ddof=1)
        assert scores["mean"] > 5 * view["between_real_halves"]["frechet_distance"]  # 20 steps are few
        assert view["coverage"]["mean"] < 0.2 < 0.8 < view["between_real_halves"]["coverage"]
    assert result["modes"]["of"] == 10
    assert result["modes"]["modes"]["mean"] < 10
    assert sum(layer["entries"] for layer in result["zeros"]["layers"]) == 64 * 256 + 256 * 256 + 256 * 64
    said = capsys.readouterr().out
    assert "Fréchet" in said
    assert "hidden_1" in said
    assert f"{result['features']['pixels']['kernel_distance']['mean']:.4g}" in said


def test_the_classifier_never_sees_the_held_out_images_that_it_judges(tmp_path, monkeypatch):
    flags = ["--steps=10", "--log-every=10", "--holdout=0.25"]
    assert train.main([f"--workdir={tmp_path / 'digits'}", *flags]) == 0
    sizes = []

    def refuse(images, labels, folder):
        sizes.append(len(images))
        raise ValueError("not now")

    monkeypatch.setattr(evaluate, "train_classifier", refuse)
    result = evaluated(tmp_path / "digits", "--seeds=1", samples=40)
    assert "held-out images" in result["protocol"]["real"]
    held_out = int(result["protocol"]["real"].split(" of ")[1].split()[0].replace(",", ""))
    assert sizes == [1_797 - held_out]
    assert set(result["features"]) == {"pixels", "random"}


def test_points_are_judged_by_modes(tmp_path):
    flags = ["--config=gaussians", "--steps=10", "--log-every=10", "--model.generator-hidden", "8"]
    assert train.main([f"--workdir={tmp_path / 'points'}", "--data.count=500", *flags]) == 0
    result = evaluated(tmp_path / "points")
    assert result["modes"]["of"] == 25
    assert 0 <= result["modes"]["high_quality"]["mean"] < 0.3
    assert "features" not in result


def test_an_autoencoders_likelihood_is_bounded(tmp_path, capsys):
    flags = ["--config=vae_digits", "--steps=10", "--log-every=10", "--model.hidden", "16"]
    assert train.main([f"--workdir={tmp_path / 'vae'}", *flags]) == 0
    bound = evaluated(tmp_path / "vae", "--seeds=1", samples=40)["likelihood"]
    np.testing.assert_allclose(bound["bits_per_dimension"], -bound["nats"] / (64 * np.log(2)), rtol=1e-6)
    logged = json.loads((tmp_path / "vae" / "metrics.jsonl").read_text().splitlines()[-1])
    assert bound["nats"] > logged["bound"]  # the mean over the first steps, with one draw
    assert "bits/dim" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds=0"], "`--seeds` (=0)"),
        (["--samples=3"], "`--samples` (=3)"),
        (["--output=/nowhere/numbers.json"], "folder that exists"),
        (["--inception=/nowhere/inception.safetensors"], "inception.safetensors"),
        (["--path=elsewhere"], "`--path` (='elsewhere') must be empty"),
        (["--step=7"], "7"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(trained, arguments, words):
    with pytest.raises(InputError) as refusal:
        evaluate.main([f"--workdir={trained}", "--samples=50", *arguments])
    assert words in str(refusal.value)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="must hold a training run"):
        evaluate.main([f"--workdir={tmp_path}"])
