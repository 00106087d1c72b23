"""A run stops when its score no longer becomes better, however often it is killed on the way."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

from l1jax import report, train
from l1jax.config import (
    Config,
    FlowMlp,
    InputError,
    MlpGan,
    Optimizer,
    Pruning,
    Schedule,
    TopicsData,
    Transformer,
    Vae,
)
from l1jax.training import run as training
from l1jax.training.checkpoint import Checkpoints
from l1jax.training.patience import (
    BestSoFar,
    Watched,
    check_patience,
    first_counted_step,
    has_run_out,
    parse_best,
    with_score,
)
from l1jax.training.saved_run import load_run
from l1jax.training.stopping import read_end

FLAGS = (
    "--steps 400 --log-every 2 --sample-every 400 --checkpoint-every 2 --batch-size 8 "
    "--model.latent-size 4 --model.generator-hidden 8 --model.discriminator-hidden 8 "
    "--objective.r1 0 --objective.r2 0 --generator.learning-rate 0.02 --keep-checkpoints 1 "
    "--discriminator.learning-rate 0.02 --ema-half-life 0 --patience 3"
).split()

pytestmark = pytest.mark.usefixtures("one_device")


class Killed(BaseException):
    pass


def run(workdir, *more):
    return train.main(["--workdir", str(workdir), *FLAGS, *more])


def lines_of(workdir):
    timing = ("images_per_second", "seconds_per_step")
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in timing} for line in lines]


def end_of(workdir):
    """What must not depend on how a run came about."""
    digests = {
        path.name: json.loads((path / "meta" / "metadata").read_text())["digest"]
        for path in (workdir / "checkpoints").iterdir()
    }
    return digests, lines_of(workdir), (workdir / "best.json").read_text()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("patience") / "run"
    assert run(workdir) == 0
    return workdir


@pytest.mark.parametrize("sign", [1, -1])
def test_the_best_so_far_is_numpys(sign):
    scores = np.random.default_rng(0).integers(0, 12, 40).astype(float)  # with ties
    scores[[0, 7]] = math.nan
    best = BestSoFar("a")
    for index, score in enumerate(scores):
        best = with_score(best, Watched("a", sign, False, 0), index, score)
        seen = sign * scores[: index + 1]
        if np.all(np.isnan(seen)):
            assert best == ("a", None, None, index + 1)
            continue
        first = int(np.nanargmin(seen))  # the first of equal ones
        assert best == ("a", scores[first], first, index - first)
        assert has_run_out(5, best) == (index - first >= 5)
        assert not has_run_out(0, best)


def test_scores_before_the_plan_is_through_do_not_count():
    watched = Watched("a", 1, False, begin=10)
    best = BestSoFar("a")
    for step, score in ((5, 0.0), (9, 0.5), (10, 3.0), (11, 4.0)):
        best = with_score(best, watched, step, score)
    assert best == ("a", 3.0, 10, 1)
    # A best of before, when patience was 0 and all counted.
    assert with_score(BestSoFar("a", 0.0, 5, 9), watched, 12, 7.0) == ("a", 7.0, 12, 0)


@pytest.mark.parametrize(
    ("optimizer", "begin"),
    [
        (Optimizer(), 0),
        (Optimizer(debias_after=70), 70),
        (Optimizer(strength_schedule=Schedule(warmup=30)), 30),
        (Optimizer(strength_schedule=Schedule("cosine", 30, 80)), 80),
        (Optimizer(sparsity_target=0.5, sparsity_horizon=40), 40),
        (Optimizer(sparsity_target=0.5, sparsity_horizon=40, debias_after=25), 25),
        (Optimizer(method="magnitude", pruning=Pruning(begin=20, steps=35)), 55),
        (Optimizer(method="rigl", pruning=Pruning(steps=35)), 0),
    ],
)
def test_the_step_from_which_scores_count(optimizer, begin):
    experiment = Config(generator=optimizer, steps=100, patience=2)
    assert first_counted_step(experiment) == begin
    check_patience(experiment)
    if begin:
        with pytest.raises(InputError, match=rf"`patience` \(=2\) .* from step {begin} on"):
            check_patience(replace(experiment, steps=begin))
        check_patience(replace(experiment, steps=begin, patience=0))


TEXT = {"data": TopicsData(), "model": Transformer()}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"best_by": "frechet_distance"}, "--evaluate-every"),
        ({"best_by": "recall", "patience": 3}, "--evaluate-every"),
        ({"best_by": "bits_per_byte"}, "only text"),
        ({"best_by": "kernel_distance", **TEXT}, "must be bits_per_byte"),
        ({"best_by": "bound", "model": MlpGan()}, "only a VAE and a flow"),
        ({"best_by": "bound", "model": FlowMlp()}, "--holdout"),
        ({"best_by": "bound", "model": Vae()}, "--holdout"),
    ],
)
def test_a_score_that_the_run_does_not_have_is_refused(fields, words):
    with pytest.raises(InputError, match=r"`best_by` \(=\w+\) must be .*") as caught:
        check_patience(Config(**fields))
    assert words in str(caught.value)


def test_a_record_that_no_run_has_written_is_refused():
    assert parse_best(None, "checkpoint 4") is None
    assert parse_best(["a", 0.5, 4, 1], "checkpoint 4") == BestSoFar("a", 0.5, 4, 1)
    for wrong in ([], 3, ["a", "b", 4, 1], ["a", 0.5, None, 1], ["a", 0.5, 4, "1"], {"a": 1}):
        with pytest.raises(InputError, match="checkpoint 4 holds `best`"):
            parse_best(wrong, "checkpoint 4")


@pytest.mark.slow
def test_a_run_stops_where_its_own_scores_say_and_the_best_is_used(stopped):
    lines = lines_of(stopped)
    scores = np.array([line["kernel_distance"] for line in lines])
    since = [index - int(np.argmin(scores[: index + 1])) for index in range(len(scores))]
    assert since[-1] == 3
    assert max(since[:-1]) < 3
    best = lines[int(np.argmin(scores))]["step"]
    end = read_end(stopped)
    assert (end.step, end.ended_at) == (best, lines[-1]["step"])
    assert end.reason.endswith(
        f"at step {best}, and none of the 3 scores since then was better; sample, evaluate and "
        f"export use step {best}"
    )
    assert {path.name for path in (stopped / "checkpoints").iterdir()} == {
        str(best),
        str(end.ended_at),
    }
    assert load_run(stopped, None, print).step == best
    assert load_run(stopped, end.ended_at, print).step == end.ended_at
    assert report.main(["--workdir", str(stopped)]) == 0
    assert f"Stopped at step {end.ended_at}: kernel_distance was" in (
        stopped / "report.html"
    ).read_text("utf-8")


@pytest.mark.slow
def test_a_run_that_has_stopped_says_so_and_goes_on_when_told(stopped, tmp_path, capsys):
    workdir = shutil.copytree(stopped, tmp_path / "run")
    before = end_of(workdir)
    end = read_end(workdir)
    assert run(workdir) == 0
    said = capsys.readouterr().out
    assert f"already stopped at step {end.ended_at}: kernel_distance" in " ".join(said.split())
    assert "--patience 0, or a larger one, goes on." in said
    assert end_of(workdir) == before
    last = end.ended_at + 2
    assert run(workdir, "--patience", "0", "--steps", str(last)) == 0
    assert lines_of(workdir)[-1]["step"] == last
    assert load_run(workdir, None, print).step == last
    assert (workdir / "checkpoints" / str(end.step)).exists()  # still the best


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("before the stop", marks=pytest.mark.slow),
        pytest.param("before its checkpoint", marks=pytest.mark.slow),
        "after its checkpoint",
    ],
)
def test_a_kill_around_the_stop_changes_nothing(stopped, tmp_path, monkeypatch, moment):
    workdir = tmp_path / "run"
    last = read_end(stopped).ended_at
    save = Checkpoints.save

    def save_or_die(self, step, *arguments):
        if step == last - 2 * (moment == "before the stop"):
            self.wait()
            raise Killed
        save(self, step, *arguments)

    def die(*arguments):
        raise Killed

    if moment == "after its checkpoint":
        monkeypatch.setattr(training, "write_end", die)
    else:
        monkeypatch.setattr(Checkpoints, "save", save_or_die)
    with pytest.raises(Killed):
        run(workdir)
    monkeypatch.undo()
    assert not (workdir / "best.json").exists()
    assert run(workdir) == 0
    assert end_of(workdir) == end_of(stopped)


@pytest.mark.slow
def test_a_best_checkpoint_that_is_gone_is_told(stopped, tmp_path):
    workdir = shutil.copytree(stopped, tmp_path / "run")
    end = read_end(workdir)
    shutil.rmtree(workdir / "checkpoints" / str(end.step))
    said = []
    assert load_run(workdir, None, said.append).step == end.ended_at
    assert said == [
        f"the best checkpoint, of step {end.step}, is gone or damaged; using the newest."
    ]
    (workdir / "best.json").write_text('{"step": "4"}')
    with pytest.raises(InputError, match=r"best.json holds `step` \(='4'\), which no run"):
        load_run(workdir, None, said.append)


@pytest.mark.slow
def test_the_bound_of_held_out_images_stops_a_vae(tmp_path):
    flags = (
        "--steps 8 --log-every 2 --sample-every 8 --checkpoint-every 2 --batch-size 8 "
        "--config vae_digits --model.latent-size 2 --model.hidden 8 --holdout 0.02 "
        "--best-by bound --patience 2"
    ).split()
    workdir = tmp_path / "run"
    assert train.main(["--workdir", str(workdir), *flags]) == 0
    bounds = [line["held_out/bound"] for line in lines_of(workdir)]
    best = lines_of(workdir)[int(np.argmax(bounds))]["step"]
    assert read_end(workdir).step == best
    assert bounds[-1] > bounds[0]  # higher is better, and training makes it so
