"""The command that makes one HTML page of a run."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from html_checks import Page, check_accessible, check_self_contained

from l1jax import report
from l1jax.config import ArrayData, Config, InputError, TonesData, to_json
from l1jax.files import write_json
from l1jax.reporting import image_grid, save_image
from l1jax.reporting.sound import wav_bytes, write_wav
from l1jax.training.workdir import write_config

HOSTILE = "<script>alert('x')</script>"
EXPERIMENT = Config(steps=40, log_every=10)


def write_run(workdir, experiment=EXPERIMENT, last_step=40):
    workdir.mkdir(parents=True)
    write_config(workdir, experiment)
    with (workdir / "metrics.jsonl").open("w") as lines:
        for step in range(10, last_step + 1, 10):
            values = {
                "generator/loss": 1 / step,
                "discriminator/loss": 0.5,
                "generator/sparsity": step / 100,
                "generator/sparsity/hidden_0/kernel": step / 80,
                "skipped": 0.0,
            }
            lines.write(json.dumps({"step": step, **values}) + "\n")
    return workdir


def write_samples(workdir, steps):
    (workdir / "samples").mkdir()
    for step in steps:
        images = np.full((4, 8, 8, 1), step % 256, np.uint8)
        save_image(image_grid(images), workdir / "samples" / f"step_{step:06d}.png")


def write_evaluation(workdir):
    def seeds(mean):
        return {"mean": mean, "deviation": 0.5, "each": [mean]}

    layer = {
        "path": "hidden_0/kernel",
        "entries": 100,
        "zeros": 25,
        "outputs": 10,
        "dead_outputs": 2,
        "flops": 200,
        "effective_flops": 150,
    }
    evaluation = {
        "step": 40,
        "protocol": {
            "real": "50 of 100 training images",
            "generated": "50 of the averaged generator for the seed 0",
            "latents": "standard normal",
            "versions": {"jax": "0.0.1"},
            "device": "1 × cpu",
        },
        "features": {
            "pixels": {
                "protocol": "pixels in [-1, 1]",
                "real_against_real": {"frechet_distance": 0.25},
                "frechet_distance": seeds(12.5),
            }
        },
        "zeros": {
            "kernels": 0.25,
            "parameters": 110,
            "effective_parameters": 85,
            "bytes": 440,
            "compressed_bytes": 353,
            "layers": [layer],
        },
        "remarks": ["look at samples"],
    }
    write_json(workdir / "evaluation.json", evaluation)


def write_path(workdir, complete=True):
    workdir.mkdir(parents=True)
    settings = {"network": "generator", "strengths": "1e-4:1e-2:2", "folds": 2, "dense": False}
    write_json(
        workdir / "selection.json", {"experiment": to_json(EXPERIMENT), "selection": settings}
    )
    if not complete:
        return workdir

    def point(strength, zeros, mean):
        score = {"mean": mean, "standard_error": 0.125, "each": [mean]}
        return {
            "strength": strength,
            "trained": 40,
            "zeros": zeros,
            "channels": {"hidden_0/kernel": [7.0, 8.0]},
            "nonzeros": 50.0,
            "scores": {"kernel_distance": score},
        }

    chosen = {"index": 1, "strength": 0.01, "rule": "minimum", "reason": "the least score"}
    path = {
        "network": "generator",
        "criterion": "kernel_distance",
        "steps": 40,
        "chosen": chosen,
        "minimum": chosen,
        "one_standard_error": None,
        "protocol": "2 folds",
        "points": [point(1e-4, 0.125, 3.5), point(0.01, 0.75, 2.25)],
    }
    write_json(workdir / "path.json", path)
    for name in ("path.png", "samples.png"):
        save_image(image_grid(np.zeros((1, 8, 8, 3), np.uint8)), workdir / name)
    return workdir


def make_page(workdir, *arguments, output=None):
    assert report.main(["--workdir", str(workdir), *arguments]) == 0
    page = Page((output or workdir / "report.html").read_text(encoding="utf-8"))
    check_self_contained(page)
    check_accessible(page)
    return page


def test_a_page_holds_all_of_a_run(tmp_path):
    workdir = write_run(tmp_path / "run", replace(EXPERIMENT, batch_size=123))
    write_samples(workdir, [0, 20, 40])
    write_evaluation(workdir)
    page = make_page(workdir)
    for words in (
        "MlpGan on Digits",
        "The training is complete, at step 40.",
        "None; no step was skipped.",
        "Loss",
        "Zeros per layer",
        "50.00%",
        "12.5 ± 0.5",
        "look at samples",
        "50 of 100 training images",
        "2 of 10",
        "batch_size",
        "l1jax.train --config again.py",
    ):
        assert words in page.text, words
    assert [image["alt"].split(",")[0] for image in page.all("img")] == [
        f"Generated images at step {step}" for step in (0, 20, 40)
    ]
    assert "l1jax.report" in page.text


def test_a_run_of_sound_is_heard(tmp_path):
    workdir = write_run(tmp_path / "run", replace(EXPERIMENT, data=TonesData()))
    write_samples(workdir, [0, 40])
    clip = np.linspace(-1, 1, 500, dtype=np.float32)
    write_wav(clip, 8000, workdir / "samples" / "step_000040.wav")
    page = make_page(workdir)
    (player,) = page.all("audio")
    assert player["aria-label"] == "Sound of the first row at step 40"
    encoded = player["src"].removeprefix("data:audio/wav;base64,")
    assert base64.b64decode(encoded) == wav_bytes(clip, 8000)
    assert page.all("img")[0]["alt"].startswith("Generated spectrograms at step 0")


def test_a_run_that_has_just_begun_has_a_page(tmp_path):
    workdir = write_run(tmp_path / "run", last_step=0)
    (workdir / "metrics.jsonl").unlink()
    page = make_page(workdir)
    assert "No metrics have been written yet" in page.text
    assert "No samples have been written" in page.text
    assert "has not been evaluated" in page.text


def test_a_run_that_goes_on_says_how_far_it_has_come(tmp_path):
    workdir = write_run(tmp_path / "run", last_step=20)
    with (workdir / "metrics.jsonl").open("a") as lines:
        lines.write('{"step": 30, "gen')  # as it is being written
    page = make_page(workdir)
    assert "has come to step 20 of 40" in page.text
    assert "damaged" not in page.text


def test_alarms_skipped_steps_rollbacks_and_damage_are_reported(tmp_path):
    workdir = write_run(tmp_path / "run", last_step=20)
    dead = {"generator/sparsity/hidden_0/kernel": 1.0, "skipped": 3.0}
    with (workdir / "metrics.jsonl").open("a") as lines:
        lines.write("\0\0 no JSON\n[1, 2]\n")
        lines.write(json.dumps({"step": 30, **dead}) + "\n")
    write_json(workdir / "rollback.json", {"step": 10, "count": 2, "useless": None})
    page = make_page(workdir)
    assert "step 30: all penalised parameters of the generator are zero" in page.text
    assert " 3 steps were skipped" in page.text
    assert "2 of its lines cannot be read" in page.text
    assert "returned to an earlier checkpoint 2 times, the last time to step 10" in page.text
    assert "multiplied by 0.25" in page.text


def test_a_path_of_strengths_has_a_page(tmp_path):
    page = make_page(write_path(tmp_path / "path"))
    for words in (
        "Strength path: MlpGan on Digits",
        "Chosen for the generator: 0.01, by kernel distance: the least score.",
        "2.25 ± 0.1",
        "chosen, best score",
        "75.0%",
        "--strengths 1e-4:1e-2:2 --folds 2 --no-dense --criterion kernel_distance",
    ):
        assert words in page.text, words
    assert len(page.all("img")) == 2
    page = make_page(write_path(tmp_path / "unfinished", complete=False))
    assert "not complete yet" in page.text


def test_text_from_a_run_is_harmless(tmp_path):
    folder = tmp_path / f"{HOSTILE.replace('/', '-')}"
    data = ArrayData(path=f"/data/{HOSTILE}.npz")
    workdir = write_run(folder / '"><img src=x onerror=alert(1)>', replace(EXPERIMENT, data=data))
    write_evaluation(workdir)
    evaluation = json.loads((workdir / "evaluation.json").read_text())
    evaluation["remarks"] = [HOSTILE]
    evaluation["features"][HOSTILE] = evaluation["features"].pop("pixels")
    evaluation["zeros"]["layers"][0]["path"] = HOSTILE
    write_json(workdir / "evaluation.json", evaluation)
    with (workdir / "metrics.jsonl").open("a") as lines:
        lines.write(json.dumps({"step": 50, HOSTILE: 1.0, f"generator/loss{HOSTILE}": 2}) + "\n")
    page = make_page(workdir)
    assert page.text.count(HOSTILE) >= 5
    assert f"/data/{HOSTILE}.npz" in page.text


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"step": "x", "protocol": 3, "zeros": {}}', "no JSON"]
)
def test_an_evaluation_that_cannot_be_read_stops_no_page(tmp_path, content):
    workdir = write_run(tmp_path / "run")
    (workdir / "evaluation.json").write_text(content)
    page = make_page(workdir)
    assert (
        "no evaluation that this l1jax can read" in page.text or "not been evaluated" in page.text
    )


def test_a_damaged_picture_is_left_out(tmp_path):
    workdir = write_run(tmp_path / "run")
    write_samples(workdir, [0, 40])
    picture = workdir / "samples" / "step_000040.png"
    picture.write_bytes(picture.read_bytes()[:-20])
    assert len(make_page(workdir).all("img")) == 1


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_folder_that_is_no_run_is_refused(tmp_path, make):
    make(tmp_path / "none")
    with pytest.raises(InputError, match=r"`--workdir` .* must hold a training run or a path"):
        report.main(["--workdir", str(tmp_path / "none")])
    assert not list(tmp_path.glob("**/*.html"))


def test_the_page_is_written_where_it_is_asked_for_and_whole_or_not_at_all(tmp_path, monkeypatch):
    workdir = write_run(tmp_path / "run")
    output = tmp_path / "page.html"
    make_page(workdir, "--output", str(output), output=output)
    assert not (workdir / "report.html").exists()
    before = output.read_bytes()

    def fail(record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "run_page", fail)
    with pytest.raises(InputError, match=r"`--output` .* No space left on device"):
        report.main(["--workdir", str(workdir), "--output", str(output)])
    assert output.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "run"]
