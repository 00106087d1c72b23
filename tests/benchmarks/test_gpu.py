"""The accelerator's benchmark keeps its results when a part raises, hangs or is killed.

Its checks can fail.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PARTS = """
import os, signal, sys, time
from gpu_record import within

def measure(record, options):
    record.keep("first", within(1e-6, 1e-5))
    {ending}
    record.keep("second", within(1e-6, 1e-5))
"""
ENDINGS = {
    "well": "pass",
    "is well too": "pass",
    "and so": "pass",
    "raises": "raise ValueError('a number was wrong')",
    "runs past its limit": "time.sleep(600)",
    "ignores the request to stop": "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "raises in an item": "record.attempt('bad', lambda: 1 / 0)",
    "is wrong": "record.keep('bad', within(1e-3, 1e-5))",
    "has no time left": "record.attempt('late', lambda: 1, needs=1e9)",
}


def run(folder: Path, endings: list[str], minutes: float) -> tuple[int, str, dict[str, dict]]:
    """Run gpu.py with five parts of ours that end in these ways.

    Returned are exit status, output and summary by ending.
    """
    for i, ending in enumerate(endings):
        (folder / f"part_{i}.py").write_text(PARTS.format(ending=ENDINGS[ending]))
    script = folder / "gpu_of_the_test.py"
    script.write_text(
        "import sys, gpu\n"
        "gpu.GRACE = 0.5\n"
        "names = ('right', 'fast', 'cheap', 'path', 'good')\n"
        "gpu.PARTS = {name: gpu.Part(f'part_{i}', 1.0) for i, name in enumerate(names)}\n"
        "sys.exit(gpu.main())\n"
    )
    environment = {
        "PYTHONPATH": f"{folder}:{BENCHMARKS}:{BENCHMARKS.parent}",
        "JAX_PLATFORMS": "cpu",
    }
    command = [
        sys.executable,
        str(script),
        "--minutes",
        str(minutes),
        "--output",
        str(folder / "out"),
    ]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    summary = json.loads((folder / "out" / "summary-gpu.json").read_text())["parts"]
    return found.returncode, found.stdout, dict(zip(endings, summary.values(), strict=True))


def kept_items(folder: Path, name: str) -> set[str]:
    kept = json.loads((folder / "out" / f"{name}-gpu.json").read_text())
    assert kept["environment"]["versions"]["jax"]
    return set(kept["items"])


@pytest.mark.slow
def test_parts_that_end_badly_leave_their_results_and_the_others(tmp_path):
    endings = ["runs past its limit", "raises", "is killed", "raises in an item", "is wrong"]
    returned, said, found = run(tmp_path, endings, minutes=0.75)
    assert returned == 1
    assert found["runs past its limit"]["status"].startswith("stopped at its limit")
    statuses = ["failed with exit status 1", "killed by SIGKILL", "complete", "complete"]
    assert [found[ending]["status"] for ending in endings[1:]] == statuses
    assert [len(found[ending]["failures"]) for ending in endings] == [0, 0, 0, 1, 1]
    assert "FAILED  bad raised ZeroDivisionError: division by zero" in said
    assert "FAILED  bad did not pass: relative_error 0.001" in said
    assert "a number was wrong" in said  # the log's end
    cut_short = {"first"}
    assert [kept_items(tmp_path, name) for name in ("right", "fast", "cheap")] == [cut_short] * 3
    assert [kept_items(tmp_path, name) for name in ("path", "good")] == [
        {"first", "bad", "second"}
    ] * 2


@pytest.mark.slow
def test_a_part_that_will_not_stop_is_killed_and_an_item_without_time_is_no_failure(tmp_path):
    endings = ["ignores the request to stop", "has no time left"]
    returned, said, found = run(tmp_path, [*endings, "well", "is well too", "and so"], minutes=0.75)
    assert returned == 1
    assert found["ignores the request to stop"]["status"].startswith("stopped at its limit")
    assert found["has no time left"]["status"] == "complete"
    assert found["has no time left"]["not_reached"] == ["late"]
    assert not found["has no time left"]["failures"]
    assert "no time for late" in said
    assert kept_items(tmp_path, "right") == {"first"}
    assert kept_items(tmp_path, "good") == {"first", "second"}


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--output must name a folder"),
        (["--output", "x", "--minutes", "0"], "--minutes (=0) must be positive"),
        (["--output", "x", "--faces", "nowhere.zip"], "--faces (=nowhere.zip) does not exist"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_starts(arguments, message, capsys):
    import gpu

    with pytest.raises(SystemExit):
        gpu.parse(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("benchmarks")
def test_the_time_that_a_part_leaves_goes_to_those_behind_it(tmp_path, monkeypatch):
    import gpu

    limits = {}
    monkeypatch.setattr(
        gpu,
        "run_part",
        lambda command, limit, log: limits.setdefault(command[3], limit) and "complete",
    )
    gpu.run_parts(gpu.parse(["--output", str(tmp_path), "--minutes", "10"]), tmp_path)
    shares = np.array([part.share for part in gpu.PARTS.values()])
    expected = (
        600 * shares / np.cumsum(shares[::-1])[::-1]
    )  # each one of what is left, for nothing was used
    np.testing.assert_allclose(list(limits.values()), expected, rtol=1e-2)


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("size", "stride", "side"), [(1, 1, 4), (3, 1, 5), (4, 2, 8), (5, 2, 7), (3, 4, 8)]
)
def test_the_exact_convolutions_are_the_librarys(transposed, size, stride, side, x64):
    """In float64, outputs, gradients and second derivatives."""
    import gpu_convolutions
    import jax
    import jax.numpy as jnp

    dimensions = ("NHWC", "HWIO", "NHWC")

    def plain(x, kernel, stride):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=dimensions
        )

    def spread(x, kernel, stride):
        return jax.lax.conv_transpose(
            x, kernel, (stride, stride), "SAME", dimension_numbers=dimensions
        )

    small = -(-side // stride)
    before, after = (small, small * stride) if transposed else (side, small)
    rng = np.random.default_rng(0)
    shapes = ((2, before, before, 3), (size, size, 3, 2), (2, after, after, 2))
    arrays = [rng.normal(size=shape) for shape in shapes]
    library = SimpleNamespace(plain=plain, spread=spread)
    function = library.spread if transposed else library.plain

    def half_squared_gradient(kernel, weights):
        gradient = jax.vjp(lambda x: function(x, kernel, stride), jnp.asarray(arrays[0]))[1](
            weights
        )[0]
        return jnp.sum(gradient**2) / 2

    y, pullback = jax.vjp(
        lambda x, kernel: function(x, kernel, stride), *map(jnp.asarray, arrays[:2])
    )
    expected = (
        y,
        *pullback(jnp.asarray(arrays[2])),
        *jax.grad(half_squared_gradient, (0, 1))(*arrays[1:]),
    )
    found = gpu_convolutions.exact_convolution(transposed, stride, *arrays)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("benchmarks")
def test_a_wrong_convolution_is_found(monkeypatch):
    import gpu_convolutions

    right = gpu_convolutions.convolve
    monkeypatch.setattr(
        gpu_convolutions, "convolve", lambda x, kernel, stride: right(x, kernel * 1.001, stride)
    )
    layer = gpu_convolutions.Layer(5, 2, 2, kernel=3, stride=1)
    assert gpu_convolutions.convolution_error(layer, False, "float32", "highest") > 1e-4


@pytest.mark.usefixtures("benchmarks")
def test_the_steps_that_there_is_time_for_follow_from_the_measured_speed(tmp_path):
    """6,400 images/s, 64 a step, two at once: 50 steps/s each, of 100 s less 40 to compile."""
    import gpu_good

    record = SimpleNamespace(path=tmp_path / "good-gpu.json")
    subject = gpu_good.Subject("faces", None, (), "a job")
    assert gpu_good.possible_steps(record, subject, 20_000, 100) == 20_000  # nothing is known
    items = {"a job": {"l1jax proximal": {"median": 6_400.0}}}
    (tmp_path / "fast-gpu.json").write_text(json.dumps({"items": items}))
    assert gpu_good.possible_steps(record, subject, 20_000, 100) == 3_000
    assert gpu_good.possible_steps(record, subject, 20_000, 1_000) == 20_000
    assert gpu_good.possible_steps(record, subject, 20_000, 1) == 100
