"""Training that is no longer finite goes back to a good checkpoint; a kill changes nothing."""

import json
import shutil

import jax.numpy as jnp
import optax
import pytest

from l1jax import train
from l1jax.config import InputError
from l1jax.training import run as training
from l1jax.training.rollback import (
    Rollback,
    count_rollbacks,
    plan_rollback,
    read_rollback,
    refuse_other_run,
    write_rollback,
)
from l1jax.transforms.learning_rate import set_learning_rate_scale, with_learning_rate

# Gradient descent on least squares has a largest stable step; the warm-up passes it after the first
# checkpoint.
COMMON = (
    "--steps 48 --log-every 4 --sample-every 48 --checkpoint-every 12 --batch-size 8 "
    "--generator.algorithm sgd --generator.learning-rate-schedule.warmup 24"
)
ADVERSARIAL = (
    f"{COMMON} --model.latent-size 4 --model.generator-hidden 8 --model.discriminator-hidden 8 "
    "--objective.loss least_squares --objective.r1 0 --objective.r2 0 "
    "--generator.learning-rate 1.2 "
    "--discriminator.algorithm sgd --discriminator.learning-rate 1.2 "
    "--discriminator.learning-rate-schedule.warmup 24"
)
TOO_FAST = {
    "images": ADVERSARIAL.split(),
    "sound": (
        f"{ADVERSARIAL} --data tones --data.count 64 --data.mels 8 --data.frames 8 "
        "--model.classes 8"
    ).split(),
    "text": (
        f"{COMMON} --data topics --model transformer --objective next-token --data.window 8 "
        "--model.context 8 --model.width 8 --model.heads 2 --model.layers 1 --holdout 0.1 "
        "--generator.learning-rate 100 --generator.penalty.strength 0 --checkpoint-every 4"
    ).split(),
}


class Killed(BaseException):
    pass


pytestmark = pytest.mark.usefixtures("one_device")


def run(workdir, *more, family="images"):
    return train.main(["--workdir", str(workdir), *TOO_FAST[family], *more])


def end_of(workdir):
    """What must not depend on how a run came about."""
    meta = json.loads((workdir / "checkpoints" / "48" / "meta" / "metadata").read_text())
    timing = ("images_per_second", "tokens_per_second", "seconds_per_step")
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    metrics = [{k: v for k, v in line.items() if k not in timing} for line in lines]
    return meta["digest"], metrics, read_rollback(workdir)


@pytest.mark.parametrize(
    ("last", "began", "checkpoints", "expected"),
    [
        (None, 7, [], Rollback(0, 1, None)),  # no checkpoint yet: from the start
        (None, 7, [2, 4], Rollback(4, 1, None)),
        (Rollback(4, 1, None), 7, [2, 4], Rollback(4, 2, None)),
        (None, 4, [2, 4], Rollback(2, 1, 4)),  # the newest one led to nothing
        (None, 4, [4], Rollback(0, 1, 4)),
        (Rollback(2, 1, 4), 2, [2], Rollback(0, 2, 2)),
        (None, 0, [], None),  # not even the first gradient is finite: no learning rate helps
        (Rollback(0, 3, None), 7, [4], None),  # tried often enough
    ],
)
def test_where_a_run_goes_back_to(last, began, checkpoints, expected):
    assert plan_rollback(last, began, checkpoints, max_rollbacks=3) == expected


def test_a_note_is_read_as_it_was_written_and_a_damaged_one_is_told(tmp_path):
    assert read_rollback(tmp_path) is None
    for rollback in (Rollback(4, 2, None), Rollback(2, 3, 4)):
        write_rollback(tmp_path, rollback)
        assert read_rollback(tmp_path) == rollback
    assert rollback.learning_rate_scale == 0.125
    (tmp_path / "rollback.json").write_text("{")
    with pytest.raises(InputError, match=r"rollback.json cannot be read"):
        read_rollback(tmp_path)


NOTE = {"step": 4, "count": 1, "useless": None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 5000}, "`count` (=5000)"),
        ({"count": 101}, "`count` (=101)"),  # of at most 100
        ({"count": 0}, "`count` (=0)"),
        ({"count": -1}, "`count` (=-1)"),
        ({"count": 1.5}, "`count` (=1.5)"),
        ({"count": "1"}, "`count` (='1')"),
        ({"count": True}, "`count` (=True)"),
        ({"count": float("nan")}, "`count` (=nan)"),
        ({"count": None}, "`count` (=None)"),
        ({"step": -4}, "`step` (=-4)"),
        ({"step": 4.0}, "`step` (=4.0)"),
        ({"step": 2**31}, "`step` (=2147483648)"),
        ({"step": [4]}, "`step` (=[4])"),
        ({"useless": 4}, "`useless` (=4)"),  # one is gone back from to an older one
        ({"useless": "8"}, "`useless` (='8')"),
        ({"useless": -8}, "`useless` (=-8)"),
        ({"useless": float("inf")}, "`useless` (=inf)"),
    ],
)
def test_a_note_that_no_run_has_written_is_refused(tmp_path, change, words):
    (tmp_path / "rollback.json").write_text(json.dumps(NOTE | change))
    with pytest.raises(InputError) as caught:
        read_rollback(tmp_path)
    assert f"rollback.json holds {words}, which no run has written: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[]", "3", "null", '{"step": 4, "count": 1e400, "useless": null}', "[" * 100_000]
)
def test_a_note_of_another_form_is_refused(tmp_path, text):
    (tmp_path / "rollback.json").write_text(text)
    with pytest.raises(InputError, match=r"rollback.json (holds no rollback|cannot be read)"):
        read_rollback(tmp_path)


@pytest.mark.parametrize(
    ("step", "scale", "fits"),
    [
        (4, 1.0, True),  # killed before the first step with the lower rate
        (4, 0.5, True),
        (4, 0.25, True),
        (4, 0.125, False),
        (8, 0.25, True),
        (8, 1.0, False),  # it would go on with the higher rate
        (8, 0.125, False),
    ],
)
def test_a_note_must_go_with_the_state(tmp_path, step, scale, fits):
    tx = with_learning_rate(optax.sgd, 0.1)
    state = set_learning_rate_scale({"generator": tx.init(jnp.ones(2))}, scale)
    note = Rollback(4, 2, None)  # a quarter of the learning rate
    if fits:
        refuse_other_run(tmp_path, note, step, state)
    else:
        with pytest.raises(InputError, match=f"does not go with the checkpoint of step {step}"):
            refuse_other_run(tmp_path, note, step, state)
    assert count_rollbacks(state) == {1.0: 0, 0.5: 1, 0.25: 2, 0.125: 3}[scale]


@pytest.fixture(scope="module")
def recovered(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("rollback") / "run"
    assert run(workdir) == 0
    return workdir


@pytest.mark.slow
def test_a_run_that_is_too_fast_goes_back_slows_down_and_says_so(recovered, tmp_path, capsys):
    assert run(tmp_path / "run") == 0
    output = capsys.readouterr().out
    _, metrics, rollback = end_of(tmp_path / "run")
    assert rollback.count >= 1
    assert rollback.step in (12, 24, 36)
    said = [line for line in output.splitlines() if "going back" in line]
    assert len(said) == rollback.count
    assert (
        f"going back to step {rollback.step} with {rollback.learning_rate_scale:g} of the "
        "learning rate" in said[-1]
    )
    for line in (
        metrics
    ):  # its learning rate is in force from there on, and those of earlier rollbacks before it
        scale = line["generator/learning_rate"] / (1.2 * min(line["step"] / 24, 1))
        assert scale == pytest.approx(rollback.learning_rate_scale) or line["step"] <= rollback.step
        assert line["skipped"] == 0
    assert [line["step"] for line in metrics] == list(range(4, 49, 4))
    assert end_of(tmp_path / "run") == end_of(recovered)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "moment"),
    [
        ("images", "before the note"),
        ("images", "after the note"),
        ("images", "after some steps"),
        ("sound", "after the note"),
        ("text", "after the note"),
    ],
)
def test_a_kill_in_the_middle_of_a_rollback_changes_nothing(
    request, tmp_path, monkeypatch, family, moment
):
    if family == "images":
        whole = request.getfixturevalue("recovered")
    else:
        whole = tmp_path / "whole"
        assert run(whole, family=family) == 0
    assert read_rollback(whole).count >= 1
    workdir, write, loop, calls = tmp_path / "run", training.write_rollback, training.train, []

    def write_and_die(*arguments):
        if moment == "after the note":
            write(*arguments)
        raise Killed

    def train_and_die(run, program, first_step, state):
        calls.append(1)

        def load(first, steps):
            if len(calls) == 2 and first % 12 == 8:
                raise Killed
            return program.load(first, steps)

        return loop(run, program._replace(load=load), first_step, state)

    if moment == "after some steps":
        monkeypatch.setattr(training, "train", train_and_die)
    else:
        monkeypatch.setattr(training, "write_rollback", write_and_die)
    with pytest.raises(Killed):
        run(workdir, family=family)
    monkeypatch.undo()
    assert run(workdir, family=family) == 0
    assert end_of(workdir) == end_of(whole)


@pytest.mark.slow
def test_a_run_that_cannot_be_saved_stops_after_as_many_rollbacks_as_it_may_have(tmp_path, capsys):
    assert run(tmp_path / "run", "--rollbacks", "0") == 1
    output = capsys.readouterr().out
    assert "had a finite loss and gradient. Try a smaller --generator.learning-rate" in output
    assert "going back" not in output


@pytest.mark.slow
def test_a_note_that_was_changed_stops_a_run_before_it_trains(recovered, tmp_path):
    workdir = shutil.copytree(recovered, tmp_path / "run")
    before = end_of(workdir)
    note = read_rollback(workdir)
    for count in (5000, note.count + 1):
        (workdir / "rollback.json").write_text(json.dumps(note._asdict() | {"count": count}))
        with pytest.raises(InputError, match=r"rollback.json .* it tells which learning rate"):
            run(workdir, "--steps", "52")
    write_rollback(workdir, note)
    assert end_of(workdir) == before


@pytest.mark.slow
def test_a_checkpoint_that_was_made_again_after_a_rollback_is_not_set_aside(
    recovered, tmp_path, capsys
):
    workdir = shutil.copytree(recovered, tmp_path / "run")
    write_rollback(workdir, read_rollback(workdir)._replace(abandoned_step=None))
    assert run(workdir) == 0
    assert read_rollback(workdir).abandoned_step is None
    assert "led to no finite step" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_whose_note_was_deleted_goes_on_counting(recovered, tmp_path, capsys):
    workdir = shutil.copytree(recovered, tmp_path / "run")
    count = read_rollback(workdir).count
    (workdir / "rollback.json").unlink()
    assert run(workdir, "--steps", "52") == 0  # in which it is too fast once more
    assert read_rollback(workdir).count == count + 1
    _, metrics, _ = end_of(workdir)
    assert metrics[-1]["generator/learning_rate"] == pytest.approx(1.2 * 0.5 ** (count + 1))
