"""What a name of an output means, and that it appears whole or not at all."""

import resource
from pathlib import Path

import numpy as np
import pytest
from generators import experiment, generator
from PIL import Image

from l1jax import sample
from l1jax.config import InputError
from l1jax.files import atomic_folder
from l1jax.serialization.model_folder import write_model

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A generator of images, and one of points."""
    root = tmp_path_factory.mktemp("models")
    write_model(root / "images", generator("mlp"), experiment("mlp"), 7, {})
    write_model(root / "points", generator("points"), experiment("points"), 7, {})
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def draw(models, output, *more, kind="images"):
    return sample.main([f"--model={models / kind}", "--count=3", f"--output={output}", *more])


@pytest.mark.parametrize(
    "output", ["samples-0.003", "v1.0", "v1.0/", "grid.png/", "run.final/", ".hidden", "a.5e"]
)
def test_a_dot_makes_no_suffix_unless_a_letter_follows(models, output, capsys):
    assert draw(models, output) == 0
    assert sorted(path.name for path in Path(output).iterdir()) == [
        "00000.png",
        "00001.png",
        "00002.png",
    ]
    assert f"3 images of step 7: {Path(output)}/" in capsys.readouterr().out
    assert [path.name for path in Path().iterdir()] == [Path(output).name]


def test_files_and_folders_hold_the_same_images(models):
    for output in ("images.npz", "folder", "GRID.PNG"):
        assert draw(models, output) == 0
    wanted = np.load("images.npz")["images"]
    for image, own in zip(wanted, sorted(Path("folder").iterdir()), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(own)), image[..., 0])
    with Image.open("GRID.PNG") as grid:
        assert grid.size[0] > 64


@pytest.mark.parametrize("output", ["grid.jpg", "run.final", "images.npy"])
def test_another_formats_suffix_is_refused(models, output):
    with pytest.raises(InputError, match=r"must end in \.png or \.npz, or in / for a folder"):
        draw(models, output)
    Path(output).mkdir()
    assert draw(models, output) == 0  # a folder that is there is one, whatever its name


def test_points_have_no_folder(models):
    with pytest.raises(InputError, match="points have no picture each"):
        draw(models, "samples-0.003", kind="points")
    assert draw(models, "points.npz", kind="points") == 0


@pytest.mark.parametrize(
    ("output", "limit"), [("folder", 60), ("grid.png", 60), ("images.npz", 60)]
)
def test_a_full_disk_leaves_nothing(models, output, limit):
    draw(models, output)  # compiles, and whatever else writes files
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    other = f"other-{output}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(
            InputError, match=rf"`--output` \(={other}\) must be writable: File too large"
        ):
            draw(models, other)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_a_folder_that_was_killed_can_be_drawn_again(models):
    Path(".samples.abcdefgh.partial").mkdir()
    Path(".samples.abcdefgh.partial/00000.png").write_bytes(b"half")
    assert draw(models, "samples") == 0
    assert [path.name for path in Path().iterdir()] == ["samples"]
    with pytest.raises(InputError, match="must be a new or an empty folder"):
        draw(models, "samples")
    with atomic_folder(Path("more")) as partial:
        assert draw(models, "more") == 0  # another process is at it too
        assert partial.is_dir()
        Path("more/00000.png").rename("kept.png")
        for own in Path("more").iterdir():
            own.unlink()
