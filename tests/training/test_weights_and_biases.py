"""Runs logged by the installed wandb: offline, and online to a server of our own."""

import gc
import json
import os
import signal
import struct
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from absent import hide
from PIL import Image

from l1jax.config import Config, InputError, to_json
from l1jax.extras import MissingExtraError
from l1jax.reporting.sound import write_wav
from l1jax.training import weights_and_biases as module
from l1jax.training.rollback import Rollback, write_rollback
from l1jax.training.wandb_run import check_wandb
from l1jax.training.weight_histograms import nonzero_histogram
from l1jax.training.weights_and_biases import open_wandb

# wandb does not wait for the process of its service, about which Python warns when it is collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

KEY = "0123456789" * 4  # of the form that wandb asks for
EXPERIMENT = Config(steps=77)


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """Nobody's login and settings."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "true")
    yield
    import wandb

    wandb.teardown()


@pytest.fixture(scope="module", autouse=True)
def collected():
    """Collect what wandb left while its warnings are ignored: once, for that takes long."""
    yield
    gc.collect()


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    return folder


def train(workdir, first_step, steps, said=None, project="project", **values):
    """What a run does: log each step, and keep it in the work directory."""
    said = [] if said is None else said
    with open_wandb(project, workdir, EXPERIMENT, first_step, said.append) as tracker:
        for step in steps:
            path = workdir / "samples" / f"step_{step:06d}.png"
            Image.new("RGB", (5, 3), (step, 0, 0)).save(path)
            row = {"loss": step / 2, **values}
            with (workdir / "metrics.jsonl").open("a") as lines:
                lines.write(json.dumps({"step": step, **row, "lost": None}) + "\n")
            tracker.grid(step, path)
            sound = path.with_suffix(".wav")
            write_wav(np.full(50, step / 100, np.float32), 8000, sound)
            tracker.sound(step, sound)
            tracker.metrics(step, row)
    return said


def cut(workdir, last_step):
    """What resuming does with metrics beyond the checkpoint."""
    path = workdir / "metrics.jsonl"
    kept = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= last_step]
    path.write_text("".join(line + "\n" for line in kept))


def read_records(folder):
    """The records of a wandb run's file, whose layout is that of LevelDB's logs."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("run-*.wandb")
    data = path.read_bytes()
    position = 7  # after the header
    part = b""
    while position + 7 <= len(data):
        left = 2**15 - position % 2**15
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        part += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(part)
            part = b""


def history(folder):
    """Step → values by name."""
    return {
        record.history.step.num: {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        for record in read_records(folder)
        if record.WhichOneof("record_type") == "history"
    }


def offline_parts(workdir):
    """Folders of an offline run, the oldest first, complete as when a process has ended."""
    import wandb

    wandb.teardown()
    return sorted((workdir / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_mtime)


@pytest.mark.slow
def test_offline_every_part_holds_the_whole_run_under_one_id(workdir, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_wandb("project", workdir, overwrite=False)
    said = train(workdir, 0, [10, 20, 30])
    assert len(said) == 1
    assert "offline; to upload: wandb sync" in said[0]
    chosen = json.loads((workdir / "wandb.json").read_text())
    cut(workdir, 20)
    check_wandb("project", workdir, overwrite=False)
    train(workdir, 20, [30, 40])
    assert json.loads((workdir / "wandb.json").read_text()) == chosen
    first, second = offline_parts(workdir)
    assert f"-{chosen['id']}" in first.name  # within a second wandb numbers them
    assert f"-{chosen['id']}" in second.name
    assert list(history(first)) == [10, 20, 30]
    rows = history(second)
    assert list(rows) == [10, 20, 30, 40]
    for step, row in rows.items():
        assert row["loss"] == step / 2
        assert "lost" not in row
        with Image.open(second / "files" / row["samples/path"]) as image:
            assert image.convert("RGB").getpixel((0, 0)) == (step, 0, 0)
        sound = workdir / "samples" / f"step_{step:06d}.wav"
        assert (second / "files" / row["sound/path"]).read_bytes() == sound.read_bytes()
    runs = [record.run for record in read_records(second) if record.HasField("run")]
    assert (runs[0].project, runs[0].run_id, runs[0].display_name) == (
        "project", chosen["id"], "run"
    )  # fmt: skip
    config = {update.key: json.loads(update.value_json) for update in runs[0].config.update}
    assert {name: config[name] for name in to_json(EXPERIMENT)} == to_json(EXPERIMENT)


@pytest.mark.slow
def test_a_rollback_begins_another_run_with_the_past_of_the_first(workdir, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(workdir, 0, [10, 20, 30])
    write_rollback(workdir, Rollback(10, 1, None))
    (workdir / "samples" / "step_000010.png").unlink()
    (workdir / "samples" / "step_000010.txt").write_text("a < b")
    cut(workdir, 10)
    with open_wandb("project", workdir, EXPERIMENT, 10, print) as tracker:
        weights = np.array([0.0, 1.0, 0.0, 3.0, 3.0])
        tracker.histograms(20, {"generator/nonzero/kernel": nonzero_histogram(weights)})
        tracker.page(20, "c & d\n  e")
        tracker.alarm(20, "dead layer", "no unit changes the output")
        tracker.metrics(20, {"loss": 5.0})
    first, second = offline_parts(workdir)
    assert list(history(first)) == [10, 20, 30]
    rows = history(second)
    assert [(step, row["loss"]) for step, row in rows.items()] == [(10, 5.0), (20, 5.0)]
    counts = rows[20]["generator/nonzero/kernel/values"]
    assert (counts[0], sum(counts), counts[-1]) == (1, 3, 2)
    pages = {10: "a &lt; b", 20: "c &amp; d\n  e"}
    for step, page in pages.items():
        stored = second / "files" / rows[step]["samples/path"]
        assert stored.read_text() == f"<pre>{page}</pre>"
    records = list(read_records(second))
    assert next(r.run.display_name for r in records if r.HasField("run")) == "run (rollback 1)"
    (alert,) = [r.alert for r in records if r.HasField("alert")]
    assert (alert.title, alert.text) == ("dead layer", "step 20: no unit changes the output")
    assert first.name.split("-")[-1] != second.name.split("-")[-1]


class Server(ThreadingHTTPServer):
    """What of wandb's server a run needs; `histories` has the lines of each run."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.histories = {}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.reply({})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/graphql":
            request = json.loads(body)
            self.reply({"data": self.answer(request["query"], request.get("variables") or {})})
        else:
            if self.path.endswith("/file_stream"):
                self.stream(self.path.split("/")[-2], json.loads(body))
            self.reply({})

    def reply(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, run_id, update):
        files = update.get("files") or {}
        if "wandb-history.jsonl" in files:
            added = files["wandb-history.jsonl"]
            lines = self.server.histories.setdefault(run_id, [])
            lines[added["offset"] :] = added["content"]

    def answer(self, query, variables):
        name = variables.get("name")
        project = {"id": "p", "name": "project", "entity": {"id": "e", "name": "me"}}
        if "upsertBucket" in query:
            new = name not in self.server.histories
            self.server.histories.setdefault(name, [])
            bucket = {
                "id": name, "name": name, "displayName": name, "config": "{}", "project": project
            }  # fmt: skip
            return {"upsertBucket": {"bucket": bucket, "inserted": new}}
        if "RunResumeStatus" in query:
            lines = self.server.histories.get(name)
            bucket = None
            if lines is not None:
                bucket = {
                    "id": name, "name": name, "displayName": name, "summaryMetrics": "{}",
                    "config": "{}", "wandbConfig": '{"t": 1}', "tags": [],
                    "historyLineCount": len(lines), "historyTail": json.dumps(lines[-1:]),
                    "eventsLineCount": 0, "eventsTail": "[]", "logLineCount": 0,
                }  # fmt: skip
            return {"model": {**project, "bucket": bucket}}
        if "createRunFiles" in query:
            address = f"http://127.0.0.1:{self.server.server_port}"
            files = [
                {"name": file, "uploadUrl": f"{address}/{file}"} for file in variables["files"]
            ]
            return {"createRunFiles": {"runID": name, "uploadHeaders": [], "files": files}}
        return {}


@pytest.fixture
def server(monkeypatch):
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_online_no_step_is_logged_twice_and_lost_ones_are_filled_in(workdir, server):
    check_wandb("me/project", workdir, overwrite=False)
    (address,) = train(workdir, 0, [10, 20, 30], project="me/project")
    assert f"http://127.0.0.1:{server.server_port}" in address
    (run_id,) = server.histories
    lines = server.histories[run_id]
    assert [json.loads(line)["_step"] for line in lines] == [10, 20, 30]
    # The checkpoint was at step 20: step 30 is repeated.
    cut(workdir, 20)
    train(workdir, 20, [30, 40, 50], project="me/project")
    # A process that was killed has not sent the last two.
    del lines[3:]
    train(workdir, 50, [60], project="me/project")
    assert list(server.histories) == [run_id]
    rows = list(map(json.loads, server.histories[run_id]))
    assert [(row["_step"], row["loss"]) for row in rows] == [(s, s / 2) for s in range(10, 61, 10)]
    assert all(row["samples"]["_type"] == "image-file" for row in rows)


@pytest.mark.slow
def test_without_an_answer_the_run_is_kept_offline(workdir, server, monkeypatch):
    server.server_close()
    monkeypatch.setattr(module, "INIT_SECONDS", 1.0)
    said = train(workdir, 0, [10, 20])
    assert len(said) == 2
    assert "wandb cannot be used online" in said[0]
    assert said[0].endswith(": going on offline.")
    (part,) = offline_parts(workdir)
    assert said[1].endswith(f"wandb sync {part}")
    assert list(history(part)) == [10, 20]


class Child(NamedTuple):
    pid: int
    state: str


def children():
    """The processes of wandb's service that this one has started."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            pid, name, state, parent, *_ = path.read_text().replace("(", "").split()
            if (name, int(parent)) == ("wandb-core)", os.getpid()):
                yield Child(int(pid), state)


@pytest.mark.slow
def test_training_goes_on_when_wandb_dies(workdir, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    said = []
    with open_wandb("project", workdir, EXPERIMENT, 0, said.append) as tracker:
        tracker.metrics(10, {"loss": 1.0})
        (service,) = [child for child in children() if child.state != "Z"]
        os.kill(service.pid, signal.SIGKILL)
        os.waitpid(service.pid, 0)
        for step in (20, 30):
            tracker.metrics(step, {"loss": 1.0})
            tracker.alarm(step, "name", "sentence")
    assert len(said) == 2
    assert "wandb failed" in said[1]
    assert "from step 20 on nothing is logged there" in said[1]


def test_what_cannot_be_logged_is_refused_in_one_sentence(workdir, monkeypatch):
    for name in ("", "a/b/c", "a b", "what?"):
        with pytest.raises(InputError, match="must be project or entity/project"):
            check_wandb(name, workdir, overwrite=False)
    with pytest.raises(InputError, match=r"needs you to be logged in: run wandb login, or set"):
        check_wandb("project", workdir, overwrite=False)

    def refuse_key(**_):  # as wandb does once in a process, for a key that cannot be one
        raise ValueError("API key must have\n40+ characters.")

    monkeypatch.setattr("wandb.login", refuse_key)
    with pytest.raises(
        InputError, match=r"your login \(API key must have 40\+ characters\): run wandb login"
    ):
        check_wandb("project", workdir, overwrite=False)
    monkeypatch.setattr("wandb.__version__", "0.20.1")
    with pytest.raises(InputError, match=r"needs wandb 0.31 or newer, and finds 0.20.1: pip"):
        check_wandb("project", workdir, overwrite=False)


def test_a_missing_package_is_told(workdir, monkeypatch):
    with monkeypatch.context() as context:
        hide(context, "wandb")
        with pytest.raises(
            MissingExtraError, match=r"needs the package wandb, .* 'l1jax\[wandb\]'"
        ):
            check_wandb("project", workdir, overwrite=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"project": "other", "id": "a", "rollbacks": 0}', r"must be other, where this run is"),
        ('{"project": "project", "id": "a/b", "rollbacks": 0}', "names no wandb run"),
        ('{"project": "project", "id": "a", "rollbacks": null}', "names no wandb run"),
        ('{"id": "a"}', "names no wandb run"),
        ("[]", "names no wandb run"),
        ('{"project', "cannot be read"),
    ],
)
def test_a_run_of_another_project_or_none_is_refused(text, words, workdir, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    (workdir / "wandb.json").write_text(text)
    with pytest.raises(InputError, match=words):
        check_wandb("project", workdir, overwrite=False)
    check_wandb("project", workdir, overwrite=True)  # which deletes it
