"""A class-conditional run from the command line.

Labels are checked, grids are sorted by class, and samples can be of one class.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from l1jax import sample, train
from l1jax.config import Config, InputError
from l1jax.data.source import source_from_arrays
from l1jax.evaluation.classifier import Classifier, Network
from l1jax.training import run_inputs

TINY = (
    "--model.classes 10 --model.latent-size 4 --model.generator-hidden 8 "
    "--model.discriminator-hidden 8 --batch-size 16 --steps 4 --log-every 2 --sample-every 4 "
    "--checkpoint-every 4 --evaluate-every 2 --keep-checkpoints 1 "
    "--objective.r1 0 --objective.r2 0"  # whose second derivatives take long to compile
).split()


pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("conditional") / "run"
    zeros = jnp.zeros((1, 8, 8, 1))
    untrained = Network(10, 6).init(jax.random.key(0), zeros, False)["params"]
    stored = jax.tree.map(np.asarray, untrained)
    classifier = Classifier(stored, 10, (8, 8, 1), 0.25, "", 180, 0.1)
    with pytest.MonkeyPatch.context() as patch:  # training one takes longer than all else
        patch.setattr(run_inputs, "make_classifier", lambda *_: classifier)
        assert train.main(["--workdir", str(workdir), *TINY]) == 0
    return workdir


@pytest.mark.slow
def test_evaluations_have_the_scores_of_a_classifier(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["evaluation/classifier/held_out_accuracy"] == 0.25
        assert line["evaluation/classifier/frechet_distance"] > 0
        assert line["evaluation/frechet_distance"] > 0


def test_a_classifier_that_needs_too_much_memory_is_left_out():
    one = np.zeros((1, 64, 64, 3), np.uint8)
    source = source_from_arrays(one, np.zeros(1, np.int32), 64, 3, "")._replace(length=10**6)
    said: list[str] = []
    assert run_inputs._open_classifier(Config(), source, said.append) is None
    assert "would take 11.4 GiB" in said[0]


def draw(trained, output, *more):
    assert sample.main(["--workdir", str(trained), "--output", str(output), *more]) == 0
    return output


@pytest.mark.slow
def test_the_evaluated_checkpoint_that_is_best_is_kept(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    distances = {line["step"]: line["evaluation/frechet_distance"] for line in lines}
    assert list(distances) == [2, 4]
    best = min(distances, key=distances.get)
    assert {int(path.name) for path in (trained / "checkpoints").iterdir()} == {4, best}
    scores = json.loads((trained / "checkpoints" / "4" / "metrics" / "metrics").read_text())
    assert scores == {"score": distances[4]}


@pytest.mark.slow
def test_one_class_is_what_the_classes_in_turn_show_of_it(trained, tmp_path):
    mixed = np.load(draw(trained, tmp_path / "mixed.npz", "--count", "20"))["images"]
    three = np.load(draw(trained, tmp_path / "three.npz", "--count", "20", "--class", "3"))[
        "images"
    ]
    np.testing.assert_array_equal(three[[3, 13]], mixed[[3, 13]])
    assert not np.array_equal(three, mixed)


@pytest.mark.slow
def test_a_grid_has_a_column_per_class(trained, tmp_path):
    def shape(path):
        with Image.open(path) as image:
            return image.size

    width, height = shape(draw(trained, tmp_path / "grid.png", "--count", "20"))
    assert round(width / height) == 5  # 10 × 2
    width, height = shape(draw(trained, tmp_path / "one.png", "--count", "16", "--class", "3"))
    assert width == height
    width, height = shape(trained / "samples" / "step_000004.png")
    assert round(width / height, 1) == pytest.approx(10 / 6, abs=0.1)  # 60 of the 64: whole rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--class", "10"], "`--class` (=10) must be one of the generator's classes, 0 to 9."),
        (["--class", "-1"], "(=-1)"),
    ],
)
def test_a_class_that_is_not_there_is_refused(trained, tmp_path, more, words):
    with pytest.raises(InputError) as caught:
        draw(trained, tmp_path / "no.png", *more)
    assert words in str(caught.value)


def test_labels_beyond_the_models_classes_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"`model.classes` \(=7\) must be at least 10: the labels .* from 0 to 9"
    ):
        train.main(["--workdir", str(tmp_path / "run"), *TINY, "--model.classes", "7"])
    assert not (tmp_path / "run").exists()


def test_images_without_labels_are_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    arguments = f"--data image --data.path {tmp_path} --data.image-size 8 --data.channels 1".split()
    with pytest.raises(
        InputError,
        match=r"`model.classes` \(=10\) must be 0 for these images, which have no labels",
    ):
        train.main(["--workdir", str(tmp_path / "run"), *TINY, *arguments])


def test_a_batch_must_be_divisible_by_its_parts(tmp_path):
    with pytest.raises(
        InputError, match=r"`batch_size` \(=16\) must be divisible by `accumulate` \(=3\).*: 15\."
    ):
        train.main(["--workdir", str(tmp_path / "run"), *TINY, "--accumulate", "3"])


def test_a_summary_is_printed_and_nothing_is_trained(tmp_path, capsys):
    assert train.main(["--workdir", str(tmp_path / "run"), "--summary"]) == 0
    output = capsys.readouterr().out
    assert "hidden_0" in output
    assert f"{64 * 256 + 256:,}" in output  # parameters of the generator's first layer
    assert not (tmp_path / "run").exists()
