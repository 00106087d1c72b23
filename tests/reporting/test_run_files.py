"""What is read of a run that may be going on, or damaged."""

import json

import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.reporting import image_grid, run_files, save_image
from l1jax.reporting.run_files import (
    read_metrics,
    read_object,
    read_pages,
    read_picture,
    read_samples,
)
from l1jax.reporting.sound import wav_bytes


def write_lines(path, steps):
    path.write_text("".join(json.dumps({"step": step, "x": step / 2}) + "\n" for step in steps))


def test_lines_without_a_step_or_a_finite_number_are_no_points(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "a": null, "b": true, "c": "x", "d": 2}\n{"step": "x"}\n{"a": 1}\n\n'
        '{"step": 2, "a": NaN}\n{"step": 3, "a": 1'
    )
    seen = []
    metrics = read_metrics(path, seen.append)
    assert [(line.step, dict(line.values)) for line in metrics.lines] == [(1, {"d": 2.0}), (2, {})]
    assert seen == list(metrics.lines)
    assert metrics.num_unreadable == 3  # but not the last, which has no end


def test_of_very_many_lines_a_part_is_held_evenly_with_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "MAX_LINES", 8)
    path = tmp_path / "metrics.jsonl"
    write_lines(path, range(1, 22))
    seen = []
    metrics = read_metrics(path, seen.append)
    assert [line.step for line in metrics.lines] == [1, 5, 9, 13, 17, 21]
    write_lines(path, range(1, 24))
    assert read_metrics(path, seen.append).lines[-1].step == 23
    assert len(seen) == 21 + 23


def test_a_run_without_files_has_nothing(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl", print).lines == []
    assert read_samples(tmp_path / "samples") == []
    assert read_object(tmp_path / "evaluation.json") is None
    assert read_picture(tmp_path / "path.png") is None


def test_a_folder_in_the_place_of_metrics_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        read_metrics(tmp_path / "metrics.jsonl", print)


def test_samples_are_spread_over_the_training(tmp_path, monkeypatch):
    for step in range(0, 1_001, 10):
        (tmp_path / f"step_{step:06d}.png").write_bytes(b"")
    (tmp_path / "step_x.png").write_bytes(b"")
    monkeypatch.setattr(run_files, "read_picture", lambda path: path.name.encode())
    steps = [picture.step for picture in read_samples(tmp_path, max_pictures=5)]
    assert steps == [0, 250, 500, 750, 1_000]


def test_sound_beside_a_picture_is_read_unless_it_is_damaged(tmp_path):
    wav = wav_bytes(np.linspace(-1, 1, 100, dtype=np.float32), 8000)
    for step in (0, 20, 30, 40):
        save_image(image_grid(np.zeros((1, 8, 8, 1), np.uint8)), tmp_path / f"step_{step:06d}.png")
    (tmp_path / "step_000000.wav").write_bytes(wav)
    (tmp_path / "step_000020.wav").write_bytes(wav[:-10])
    (tmp_path / "step_000030.wav").write_bytes(b"no sound")
    assert [sample.wav for sample in read_samples(tmp_path)] == [wav, None, None, None]


def test_pages_of_text_are_read_and_damaged_bytes_shown(tmp_path):
    for step in (0, 20, 30):
        (tmp_path / f"step_{step:06d}.txt").write_bytes(b"a\xff" + str(step).encode())
    pages = read_pages(tmp_path, max_pages=2)
    assert pages == [(0, "a\ufffd0"), (30, "a\ufffd30")]
    assert read_pages(tmp_path / "missing") == []
