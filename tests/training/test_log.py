import io
import json
import math
import os

import pytest
from rich.console import Console

from l1jax.config import InputError
from l1jax.training import log as module
from l1jax.training import progress
from l1jax.training.log import cut_metrics, open_log

VALUES = {
    "images_per_second": 1234.4,
    "seconds_per_step": 0.5,
    "generator/loss": 0.25,
    "generator/sparsity": 0.775,
    "discriminator/loss": 1.5,
    "discriminator/sparsity": 0.0,
    "skipped": 0.0,
}


def console(terminal=False):
    return Console(file=io.StringIO(), force_terminal=terminal, width=200, soft_wrap=True)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def lines_of(*steps):
    return "".join(f'{{"step": {step}, "loss": 1.0}}\n' for step in steps)


@pytest.mark.parametrize(
    ("text", "step", "kept"),
    [
        (lines_of(10, 20, 30), 20, lines_of(10, 20)),
        (lines_of(10, 20, 30), 30, lines_of(10, 20, 30)),
        (lines_of(10, 20, 30), 25, lines_of(10, 20)),
        (lines_of(10, 20, 30), 0, ""),
        (lines_of(10) + '{"step": 20, "lo', 30, lines_of(10)),  # killed while writing
        (lines_of(10, 20)[:-1], 30, lines_of(10)),
        (lines_of(10) + '{"loss": 1}\n' + lines_of(30), 40, lines_of(10, 30)),
        (lines_of(10) + "[20]\n", 40, lines_of(10)),
        (lines_of(10) + "\0\0\0\n", 40, lines_of(10)),
        (lines_of(10) + "\xff\n", 40, lines_of(10)),
        ("", 40, ""),
    ],
)
def test_lines_beyond_the_step_are_cut(text, step, kept, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(text.encode("latin-1"))
    damaged = cut_metrics(path, step)
    assert path.read_text() == kept
    assert damaged == text.count('{"loss": 1}') + sum(
        f"{mark}\n" in text for mark in ("[20]", "\0", "\xff")
    )
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_nothing_to_cut(tmp_path):
    cut_metrics(tmp_path / "metrics.jsonl", 3)
    assert list(tmp_path.iterdir()) == []


def test_a_line_longer_than_any_is_left_out_and_counted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 30)
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines_of(10) + "0" * 70 + '{"step": 5}\n' + lines_of(20) + "0" * 100)
    assert cut_metrics(path, 30) == 1
    assert path.read_text() == lines_of(10, 20)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            lines_of(10) + "x\n\0\n" + lines_of(20),
            "is damaged: 2 of its lines cannot be read and are left out",
        ),
        (None, "is gone, and with it the metrics up to step 20"),
        (lines_of(10, 20) + '{"step"', ""),  # which a kill leaves
        (lines_of(10, 20), ""),
    ],
)
def test_damaged_and_lost_metrics_are_told_and_training_goes_on(tmp_path, text, words):
    if text is not None:
        (tmp_path / "metrics.jsonl").write_text(text)
    out = console()
    with open_log(tmp_path, 20, 40, out) as log:
        log.metrics(30, {"loss": 1.0})
    said = [line for line in out.file.getvalue().splitlines() if "metrics.jsonl" in line]
    assert len(said) == bool(words)
    assert words in out.file.getvalue()
    assert lines(tmp_path / "metrics.jsonl")[-1] == {"step": 30, "loss": 1.0}


def test_metrics_that_are_no_file_or_too_large_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines_of(10))
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 5)
    with pytest.raises(InputError, match="must have at most 5 bytes"):
        cut_metrics(path, 10)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="must be a file"):
        cut_metrics(path, 10)


def test_metrics_are_on_disk_at_once_and_go_on_after_a_resume(tmp_path):
    for first, steps in [(0, (10, 20, 30)), (20, (30, 40))]:
        with open_log(tmp_path, first, 40, console()) as log:
            for step in steps:
                log.metrics(step, VALUES)
                assert lines(tmp_path / "metrics.jsonl")[-1] == {"step": step, **VALUES}
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [10, 20, 30, 40]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_lines_are_strict_json(value, tmp_path):
    with open_log(tmp_path, 0, 1, console()) as log:
        log.metrics(1, VALUES | {"kernel_distance": value})

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    parsed = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert parsed["kernel_distance"] is None


def test_tensorboard_is_given_what_it_can_draw_and_warns_of_nothing(tmp_path, caplog):
    with open_log(tmp_path, 0, 1, console()) as log:
        log.metrics(1, {"lost": math.nan, "endless": math.inf, "finite": 2.0})
    assert caplog.records == []
    written = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    assert b"finite" in written
    assert b"lost" not in written


def test_a_disk_that_is_full_for_events_alone_is_told_once_and_training_goes_on(
    tmp_path, monkeypatch
):
    out = console()
    with open_log(tmp_path, 0, 40, out) as log:
        log.metrics(10, VALUES)

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tensorboardX.record_writer.RecordWriter.flush", full)
        for step in (20, 30, 40):
            log.metrics(step, VALUES)
    told = [line for line in out.file.getvalue().splitlines() if "No space" in line]
    assert len(told) == 1
    assert "from step 20 on it has no events" in told[0]
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [10, 20, 30, 40]


def test_logs_opened_within_a_second_keep_their_events_apart(tmp_path):
    for first in (0, 10):
        with open_log(tmp_path, first, 20, console()) as log:
            log.metrics(first + 10, {f"from_{first}": 1.0})
    written = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    assert b"from_0" in written
    assert b"from_10" in written


def test_tensorboard_gets_every_metric_even_if_training_fails(tmp_path):
    def fail():
        with open_log(tmp_path, 0, 40, console()) as log:
            log.metrics(10, VALUES)
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        fail()
    written = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    assert [name for name in VALUES if name.encode() not in written] == []


def test_without_a_terminal_there_is_a_plain_line_now_and_then(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = console()
    with open_log(tmp_path, 0, 1000, out) as log:
        for step in range(100, 1001, 100):
            log.metrics(step, VALUES)
            now[0] += 3.0
        log.say("[bold] said")
    said = out.file.getvalue().splitlines()
    assert [line.split("  ")[0] for line in said] == [
        "step 100/1,000",
        "step 500/1,000",  # 12 seconds later
        "step 900/1,000",
        "step 1,000/1,000",  # and the last one always
        "[bold] said",
    ]
    assert said[0] == (
        # The rest takes 900 × 0.5 s.
        "step 100/1,000  1,234 images/s  G 0.25, 77.5 % zeros  D 1.5, 0.0 % zeros  ETA 7:30"
    )
    assert "\x1b" not in out.file.getvalue()


def test_skipped_steps_and_a_generator_alone_are_told(tmp_path):
    out = console()
    alone = {name: value for name, value in VALUES.items() if not name.startswith("discriminator")}
    with open_log(tmp_path, 0, 10, out) as log:
        log.metrics(10, alone | {"skipped": 3.0})
    assert (
        out.file.getvalue()
        == "step 10/10  1,234 images/s  G 0.25, 77.5 % zeros  3 steps skipped  ETA 0:00\n"
    )


def test_on_a_terminal_there_is_a_bar(tmp_path):
    out = console(terminal=True)
    with open_log(tmp_path, 20, 40, out) as log:
        log.metrics(40, VALUES)
        log.say("a [sentence] on a line of its own")
    shown = out.file.getvalue()
    assert "a [sentence] on a line of its own\n" in shown
    assert "40/40" in shown
    assert "77.5 % zeros" in shown
