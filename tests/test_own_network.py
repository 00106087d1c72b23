"""The guide "Your own network": its file, from an empty folder to every command."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest

import l1jax
from l1jax import compact, evaluate, export, report, sample, select, train
from l1jax.config import InputError
from l1jax.training.keys import named_seed_key

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device")]

GUIDE = Path(__file__).parent.parent / "docs/guides/own_network.md"
MODULE = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)[1]
TINY = (
    "--model own_of_the_guide:build --model.width 8 --model.latent-size 4 --steps 8 --log-every 4 "
    "--sample-every 8 --checkpoint-every 4 --batch-size 16 --objective.r1 0 --objective.r2 0 "
    "--generator.penalty.strength 3e-2"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder with the guide's file, which is on the path."""
    path = tmp_path_factory.mktemp("own")
    (path / "own_of_the_guide.py").write_text(MODULE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path)
        yield path
    sys.modules.pop("own_of_the_guide", None)


@pytest.fixture(scope="module")
def trained(folder):
    assert train.main([*TINY, "--workdir", str(folder / "run")]) == 0
    return folder / "run"


def digest(workdir):
    meta = workdir / "checkpoints" / "8" / "meta" / "metadata"
    return json.loads(meta.read_text())["digest"]


def images_of(*source):
    output = Path(source[1]).parent / "drawn.npz"
    assert sample.main([*map(str, source), "--count", "3", "--output", str(output)]) == 0
    return np.load(output)["images"]


def test_the_guide_is_short():
    assert len([line for line in MODULE.splitlines() if line.strip()]) <= 40


def test_the_options_stand_in_the_configuration(trained):
    described = json.loads((trained / "config.json").read_text())["model"]
    assert described == {
        "kind": "CustomModel",
        "factory": "own_of_the_guide:build",
        "options": {"latent_size": 4, "width": 8},
    }


@pytest.mark.slow
def test_a_run_that_stopped_half_way_ends_with_the_same_bits(trained, folder):
    half = folder / "half"
    assert train.main([*TINY, "--steps", "4", "--workdir", str(half)]) == 0
    assert train.main([*TINY, "--workdir", str(half)]) == 0
    assert digest(half) == digest(trained)


def test_another_option_is_another_experiment(trained):
    with pytest.raises(InputError, match=r"model\.options\.width: 8 → 9"):
        train.main([*TINY, "--model.width", "9", "--workdir", str(trained)])


def test_an_unknown_option_is_refused_with_the_nearest(folder):
    with pytest.raises(InputError, match=r"`--model.wdith` is not a flag here; .*--model.width"):
        train.main([*TINY, "--model.wdith", "9", "--workdir", str(folder / "none")])


def test_exports_draw_the_same_images(trained, folder):
    images = images_of("--workdir", trained)
    output = folder / "exported"
    flags = ["--workdir", str(trained), "--output", str(output), "--stablehlo", "--onnx"]
    assert export.main(flags) == 0
    np.testing.assert_array_equal(images_of("--model", output), images)
    for name in ("model.stablehlo", "model.onnx"):
        difference = images_of("--model", output / name).astype(int) - images
        assert np.abs(difference).max() <= 1
    program = jax.export.deserialize(bytearray((output / "model.stablehlo").read_bytes()))
    assert np.asarray(program.call(np.zeros((2, 4), np.float32))).shape == (2, 8, 8, 1)


def test_a_compact_folder_and_a_program_need_no_package(trained, folder, monkeypatch):
    output = folder / "compact"
    assert compact.main(["--workdir", str(trained), "--output", str(output), "--batch", "4"]) == 0
    exported = folder / "whole"
    assert export.main(["--workdir", str(trained), "--output", str(exported), "--stablehlo"]) == 0
    images = images_of("--workdir", trained)
    monkeypatch.setitem(sys.modules, "own_of_the_guide", None)  # as if it were not installed
    np.testing.assert_allclose(images_of("--model", output), images, atol=1)
    np.testing.assert_allclose(images_of("--model", exported / "model.stablehlo"), images, atol=1)
    with pytest.raises(InputError, match="is in the package own_of_the_guide, which is not inst"):
        images_of("--model", exported)


def test_a_module_in_the_folder_of_a_model_is_not_imported(trained, folder, monkeypatch):
    output = folder / "hostile"
    assert export.main(["--workdir", str(trained), "--output", str(output)]) == 0
    described = json.loads((output / "config.json").read_text())
    described["experiment"]["model"]["factory"] = "hostile_module:build"
    (output / "config.json").write_text(json.dumps(described))
    (output / "hostile_module.py").write_text("raise SystemExit('executed')\n")
    monkeypatch.syspath_prepend(output)
    with pytest.raises(
        InputError, match=r"a module in the folder of the model, .* nothing is exec"
    ):
        images_of("--model", output)


def test_it_is_loaded_in_python_and_its_card_names_the_package(trained, folder):
    images = l1jax.load(trained)(named_seed_key(0, "sample"), 3)
    np.testing.assert_array_equal(images, images_of("--workdir", trained))
    output = folder / "with_card"
    assert export.main(["--workdir", str(trained), "--output", str(output)]) == 0
    np.testing.assert_array_equal(l1jax.load(output)(named_seed_key(0, "sample"), 3), images)
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "its package `own_of_the_guide` must be installed" in card
    assert "# own_of_the_guide:build: 8×8×1 images" in card


def test_the_report_names_the_options(trained):
    assert report.main(["--workdir", str(trained)]) == 0
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "model.options.width" in page
    assert "own_of_the_guide:build" in page


@pytest.mark.slow
def test_evaluation_and_selection_take_it(trained, folder):
    copy = shutil.copytree(trained, folder / "evaluated")
    assert evaluate.main(["--workdir", str(copy), "--samples", "64"]) == 0
    path = folder / "path"
    flags = [*TINY, "--strengths", "1e-2:1:2", "--folds", "2", "--no-refit"]
    assert select.main([*flags, "--workdir", str(path)]) == 0
    points = json.loads((path / "path.json").read_text())["points"]
    assert points[0]["zeros"] == 0


@pytest.mark.slow
def test_the_commands_run_it_as_processes(folder):
    flags = [*TINY, "--steps", "2", "--workdir", "alone"]
    command = [sys.executable, "-m", "l1jax.train", *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
