"""Standard output may go away: the command goes on, and no traceback is seen."""

import io
import os
import sys

import pytest
from rich.console import Console

from l1jax.cli.process import run_command
from l1jax.streams import lasting_output


def closed_pipe():
    """A text stream whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def full_disk():
    return open("/dev/full", "w")


@pytest.mark.parametrize(
    ("make", "notice", "said"),
    [
        (closed_pipe, "", ""),
        (
            closed_pipe,
            "training goes on",
            "standard output is lost (Broken pipe); training goes on.\n",
        ),
        (full_disk, "", "standard output is lost (No space left on device).\n"),
        (
            full_disk,
            "training goes on",
            "standard output is lost (No space left on device); training goes on.\n",
        ),
    ],
)
def test_work_goes_on_without_standard_output(make, notice, said, monkeypatch):
    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    with make() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with lasting_output(notice) as output:
            console = Console()
            for i in range(3):
                console.print(f"line {i}")  # Rich would end the process
                print(f"line {i}", flush=True)
            assert isinstance(output.lost, OSError)
        assert sys.stdout is stream
    assert errors.getvalue() == said


def test_nor_without_standard_error(monkeypatch):
    with closed_pipe() as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with lasting_output():
            print("said to nobody", file=sys.stderr, flush=True)


def test_what_can_be_written_arrives(capsys):
    with lasting_output() as output:
        print("out")
        print("err", file=sys.stderr)
    assert capsys.readouterr() == ("out\n", "err\n")
    assert output.lost is None


@pytest.mark.parametrize(
    ("make", "notice", "status"),
    [
        (closed_pipe, "", 0),
        (full_disk, "", 1),
        (closed_pipe, "it goes on", 0),
        (full_disk, "it goes on", 0),
    ],
)
def test_a_command_finishes_and_its_status_tells_what_was_not_written(
    make, notice, status, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["prog"])
    done = []

    def main(arguments):
        print("a table")
        sys.stdout.flush()
        done.append("files")
        return 0

    with make() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as stopped:
            run_command(main, notice)
    assert done == ["files"]
    assert stopped.value.code == status
    assert "Traceback" not in capsys.readouterr().err
