"""`evaluate` and `select` by two processes give the numbers that one process gives."""

import json
import multiprocessing

import numpy as np
import pairs
import pytest
from forked import live

COMMON = "--steps 20 --log-every 10 --sample-every 20 --checkpoint-every 20 --batch-size 16"
TRAIN = (
    f"{COMMON} --model.latent-size 8 --model.generator-hidden 16 --model.discriminator-hidden 16 "
    "--objective.r1 0 --objective.r2 0"
).split()
TRAIN_TEXT = (
    f"{COMMON} --data topics --model transformer --objective next-token --data.window 16 "
    "--model.context 16 --model.width 8 --model.heads 2 --model.layers 1 --holdout 0.05"
).split()
SELECT = "--strengths 1e-3:1e-1:3 --folds 2 --path-steps 20 --no-refit".split()
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_pairs")]


def run_alone(command, *arguments):
    process = multiprocessing.get_context("forkserver").Process(
        target=live, args=(arguments, "/dev/null", command, pairs.NUM_DEVICES)
    )
    process.start()
    process.join(timeout=300)
    assert process.exitcode == 0


def run_together(folder, command, *arguments):
    statuses, said = pairs.end(pairs.start(folder, *arguments, command=command))
    assert statuses == [0, 0], said
    assert said[1] == ""


@pytest.mark.parametrize(
    ("train", "samples"),
    [
        (TRAIN, "700"),  # more than one share of 256 images for each, and a remainder
        (TRAIN_TEXT, "70"),  # of 64
    ],
    ids=["images", "text"],
)
def test_an_evaluation_is_the_same_to_the_last_bit(tmp_path, train, samples):
    run = tmp_path / "run"
    run_alone("train", "--workdir", str(run), *train)
    flags = ["--workdir", str(run), "--samples", samples, "--seeds", "2", "--output"]
    run_alone("evaluate", *flags, str(tmp_path / "alone.json"))
    run_together(tmp_path / "said", "evaluate", *flags, str(tmp_path / "together.json"))
    alone, together = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("alone", "together")
    )
    assert alone["protocol"].pop("device").startswith("2 ×")
    assert together["protocol"].pop("device").startswith("4 ×")
    for result in (alone, together):
        if "text" in result:
            assert result["text"].pop("bytes_per_second") > 0
            assert "bytes per second" in result["remarks"].pop()
    assert together == alone


def test_a_path_is_the_same_to_rounding(tmp_path):
    run_alone("select", "--workdir", str(tmp_path / "alone"), *TRAIN, *SELECT)
    run_together(
        tmp_path / "said", "select", "--workdir", str(tmp_path / "together"), *TRAIN, *SELECT
    )
    alone, together = (
        json.loads((tmp_path / name / "path.json").read_text()) for name in ("alone", "together")
    )
    assert together["chosen"]["strength"] == alone["chosen"]["strength"]
    assert len(alone["points"]) == 4
    for point, expected in zip(together["points"], alone["points"], strict=True):
        assert point["strength"] == expected["strength"]
        np.testing.assert_allclose(point["zeros"], expected["zeros"], atol=5e-3)
        for name, scores in expected["scores"].items():
            np.testing.assert_allclose(point["scores"][name]["each"], scores["each"], rtol=1e-3)


def test_a_run_of_two_processes_stops_where_its_scores_say(tmp_path):
    flags = (
        "--steps 400 --log-every 2 --sample-every 400 --checkpoint-every 2 --batch-size 16 "
        "--model.latent-size 4 --model.generator-hidden 8 --model.discriminator-hidden 8 "
        "--objective.r1 0 --objective.r2 0 --generator.learning-rate 0.02 --ema-half-life 0 "
        "--keep-checkpoints 1 --patience 3"
    ).split()
    run = tmp_path / "run"
    run_together(tmp_path / "said", "train", "--workdir", str(run), *flags)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = int(np.argmin([line["kernel_distance"] for line in lines]))
    assert len(lines) - 1 - best == 3
    end = json.loads((run / "best.json").read_text())
    assert (end["step"], end["ended_at"]) == (lines[best]["step"], lines[-1]["step"])
    kept = {path.name for path in (run / "checkpoints").iterdir()}
    assert kept == {str(end["step"]), str(end["ended_at"])}
