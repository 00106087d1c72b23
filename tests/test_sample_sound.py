"""Sounds that `l1jax.sample` writes: files, rates, peaks, labels; and refusals."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from generators import experiment, generator, write_sound_model
from PIL import Image

from l1jax import sample
from l1jax.config import InputError
from l1jax.serialization.model_folder import write_model

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A generator of three classes of sound, and one of images."""
    root = tmp_path_factory.mktemp("models")
    write_sound_model(root / "sound")
    write_model(root / "images", generator("mlp"), experiment("mlp"), 7, {})
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def draw(models, output, *more, kind="sound"):
    return sample.main([f"--model={models / kind}", "--count=4", f"--output={output}", *more])


@pytest.mark.slow
def test_a_folder_holds_a_picture_and_a_sound_of_each(models):
    assert draw(models, "clips/") == 0
    names = sorted(path.name for path in Path("clips").iterdir())
    assert names == [f"{i:05d}.{suffix}" for i in range(4) for suffix in ("png", "wav")]
    with Image.open("clips/00000.png") as picture:
        assert picture.size == (12, 8)
    for i in range(4):
        clip, rate = soundfile.read(f"clips/{i:05d}.wav")
        assert rate == 4000
        assert clip.shape == (12 * 40,)
        assert np.abs(clip).max() == pytest.approx(0.9, abs=1e-4)


def test_a_wav_holds_one_clip_after_the_other(models, capsys):
    assert draw(models, "all.wav") == 0
    assert "4 clips of step 7: all.wav" in capsys.readouterr().out
    joined, _ = soundfile.read("all.wav")
    assert len(joined) == 4 * 480 + 3 * 1000
    np.testing.assert_array_equal(joined[480:1480], 0)


@pytest.mark.slow
def test_rows_are_heard_one_clip_after_the_other(models):
    flags = [f"--model={models / 'sound'}", "--directions=2", "--frames=3"]
    assert sample.main([*flags, "--output=rows.wav"]) == 0
    assert sample.main([*flags, "--output=rows.npz"]) == 0
    archive = np.load("rows.npz")
    assert archive["images"].shape == (6, 8, 12, 1)
    joined, _ = soundfile.read("rows.wav")
    clips = np.stack([joined[i * 1480 : i * 1480 + 480] for i in range(6)])
    np.testing.assert_allclose(clips, archive["clips"], atol=1e-4)


def test_an_archive_holds_images_labels_and_clips(models):
    assert draw(models, "a.npz") == 0
    assert draw(models, "one.npz", "--class=2") == 0
    archive = np.load("a.npz")
    np.testing.assert_array_equal(archive["labels"], [0, 1, 2, 0])
    np.testing.assert_array_equal(np.load("one.npz")["labels"], [2, 2, 2, 2])
    assert archive["images"].shape == (4, 8, 12, 1)
    assert archive["clips"].shape == (4, 480)
    assert archive["sample_rate"] == 4000
    np.testing.assert_array_equal(np.load("one.npz")["images"][2], archive["images"][2])


def test_a_picture_is_a_grid_of_spectrograms(models):
    assert draw(models, "grid.png") == 0
    with Image.open("grid.png") as picture:
        assert picture.size[0] > 64


def test_images_have_no_sound(models):
    with pytest.raises(InputError, match=r"\(=a\.wav\) must end in .*draws no sound"):
        draw(models, "a.wav", kind="images")
    assert draw(models, "a.npz", kind="images") == 0
    assert set(np.load("a.npz")) == {"images"}
