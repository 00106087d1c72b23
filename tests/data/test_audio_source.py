"""Recordings in folders and archives as spectrograms: classes, order, refusals."""

import io
import sys
import tarfile
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from l1jax.audio import MelSettings, image_from_log_mel, log_mel
from l1jax.config import AudioData, Config, ImageData, InputError, check
from l1jax.data.opening import open_examples, open_source
from l1jax.data.recordings import read_clip
from l1jax.data.source import take

SMALL = {"mels": 16, "frames": 20, "n_fft": 256, "hop": 64}


def encoded(hertz, rate=8000, form="WAV"):
    file = io.BytesIO()
    sound = 0.5 * np.sin(2 * np.pi * hertz * np.arange(rate // 4) / rate)
    soundfile.write(file, sound, rate, format=form)
    return file.getvalue()


FILES = {
    "high/a.flac": encoded(2000, 16000, "FLAC"),
    "high/b.wav": encoded(2500, 44100),
    "low/c.ogg": encoded(300, 8000, "OGG"),
    "low/d.MP3": encoded(400, 22050, "MP3"),
    "low/notes.txt": b"not a recording",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    write(folder, FILES)
    return folder


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_mixed_rates_and_formats_become_labelled_spectrograms(folder):
    source = open_source(AudioData(str(folder), **SMALL))
    assert source.length == 4
    assert source.image_shape == (16, 20, 1)
    assert source.classes == ("high", "low")
    np.testing.assert_array_equal(source.labels, [0, 0, 1, 1])
    images = take(source, np.arange(4))
    assert images.dtype == np.uint8
    brightest = images.astype(float).mean(axis=(2, 3)).argmax(axis=1)  # 0 is at the top
    assert (brightest[:2] < 7).all()
    assert (brightest[2:] > 11).all()


def test_images_are_those_of_the_audio_package(folder):
    data = AudioData(str(folder), **SMALL)
    source = open_source(data)
    settings = MelSettings(n_fft=256, hop=64, mels=16)
    for i, name in enumerate(["high/a.flac", "high/b.wav", "low/c.ogg", "low/d.MP3"]):
        clip = jnp.asarray(read_clip(FILES[name], data))
        expected = np.asarray(image_from_log_mel(log_mel(clip, settings), settings))
        difference = np.abs(source.example(i).astype(int) - expected)
        assert difference.max() <= 1
        assert difference.mean() < 0.01


def test_a_folder_its_tar_and_its_zip_are_one_data_set(folder, tmp_path):
    with tarfile.open(tmp_path / "x.tar.xz", "w:xz") as tar:
        tar.add(folder, "top")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    sources = [
        open_source(AudioData(str(path), **SMALL))
        for path in (folder, tmp_path / "x.tar.xz", tmp_path / "x.zip")
    ]
    assert len({source.fingerprint for source in sources}) == 1
    first, *others = (take(source, np.arange(4)) for source in sources)
    for images in others:
        np.testing.assert_array_equal(images, first)


@pytest.mark.parametrize("change", [{"floor": -6.0}, {"hop": 60}, {"lowest": 60.0}])
def test_what_makes_another_spectrogram_makes_another_fingerprint(folder, change):
    changed = open_source(AudioData(str(folder), **SMALL | change))
    assert changed.fingerprint != open_source(AudioData(str(folder), **SMALL)).fingerprint


def test_recordings_of_formats_that_are_not_read_are_named_or_left_out(tmp_path):
    write(tmp_path, {"a.m4a": b"ftypM4A", "b.wav": FILES["high/b.wav"], "c.txt": b"notes"})
    with pytest.raises(InputError, match=r"'a\.m4a', which .* \(\.m4a files are not read: convert"):
        open_source(AudioData(str(tmp_path), **SMALL))
    source = open_source(AudioData(str(tmp_path), on_error="skip", **SMALL))
    assert source.length == 1
    assert len(source.skipped) == 1
    (tmp_path / "b.wav").unlink()
    with pytest.raises(InputError, match=r"'a\.m4a'.*no recording that can be"):
        open_source(AudioData(str(tmp_path), on_error="skip", **SMALL))


def test_damaged_recordings_are_named_or_left_out(folder, tmp_path):
    damaged = {"low/e.flac": FILES["high/a.flac"][:900], "low/f.wav": b"RIFF"}
    write(tmp_path, FILES | damaged)
    source = open_source(AudioData(str(tmp_path), **SMALL))
    with pytest.raises(
        InputError, match=r"holds the recording 'low/e\.flac', which cannot be used \(it is damaged"
    ):
        source.example(4)
    training, _ = open_examples(AudioData(str(tmp_path), on_error="skip", **SMALL))
    assert training.length == 4
    assert ["low/e.flac" in sentence for sentence in training.skipped] == [True, False]


def test_hours_of_sound_are_refused_from_the_header(tmp_path):
    """A sparse WAV of two and a half hours."""
    empty = bytearray(encoded(300)[:44])
    size = 8000 * 2 * 9000
    empty[40:44] = size.to_bytes(4, "little")
    empty[4:8] = (size + 36).to_bytes(4, "little")
    with (tmp_path / "day.wav").open("wb") as file:
        file.write(empty)
        file.truncate(44 + size)
    source = open_source(AudioData(str(tmp_path), **SMALL))
    with pytest.raises(InputError, match=r"'day\.wav'.*its 9,000 seconds are over the limit of 60"):
        source.example(0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": ""}, "`data.path` is empty: give --data.path FOLDER_OR_ARCHIVE, a folder of rec"),
        ({"hop": 300}, r"`data.hop` \(=300\) must be at least 1 and at most `data.n_fft` \(=256\)"),
        ({"lowest": 5000.0}, r"`data.lowest` \(=5000\) and `data.highest`"),
        ({"mels": 300}, r"`data.mels` \(=300\) must be so few"),
        ({"floor": 4.0, "n_fft": 64}, r"`data.floor` \(=4\) must be below"),
        ({"labels": "folders", "path": "low"}, "whose recordings lie in no class folders"),
        ({"subfolder": "middle"}, "must be a folder with recordings in"),
    ],
)
def test_settings_that_cannot_be_are_refused(folder, change, words):
    path = str(folder / change["path"]) if change.get("path") else change.get("path", str(folder))
    with pytest.raises(InputError, match=words):
        open_source(AudioData(**SMALL | change | {"path": path}))


def test_a_folder_without_recordings_says_what_to_give(tmp_path):
    write(tmp_path, {"a.txt": b"x", "b/c.zip": b"PK"})
    with pytest.raises(InputError, match="holds no recordings but 1 archives"):
        open_source(AudioData(str(tmp_path)))


def test_recordings_given_as_images_are_recognised(folder):
    with pytest.raises(InputError, match="a folder of recordings: give --data audio"):
        open_source(ImageData(str(folder / "low")))


def test_speakers_are_held_out_whole(tmp_path):
    names = [f"{word}/{speaker}_{i}.wav" for word in "xy" for speaker in "abc" for i in range(2)]
    write(tmp_path, {name: encoded(300 + 50 * k) for k, name in enumerate(names)})
    data = AudioData(str(tmp_path), speaker=r"/(.)_", **SMALL)
    training, held_out = open_examples(data, 0.2)
    assert held_out.length == 4
    assert set(held_out.groups) | set(training.groups) == set("abc")
    assert not set(held_out.groups) & set(training.groups)


@pytest.mark.parametrize(
    ("speaker", "words"),
    [("a", r"must have one group"), ("(z+)", "finds none in 'high/a.flac'")],
)
def test_speakers_that_are_not_in_the_names_are_refused(folder, speaker, words):
    with pytest.raises(InputError, match=r"`data.speaker`.*" + words):
        open_source(AudioData(str(folder), speaker=speaker, **SMALL))


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_a_missing_package_is_named_before_anything_is_read(folder, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"needs the package {package}.*'l1jax\[audio\]'"):
        open_source(AudioData(str(folder), **SMALL))


def test_bounds_are_checked():
    with pytest.raises(InputError, match=r"`data.sample_rate` \(=10\)"):
        check(Config(data=AudioData(sample_rate=10)))
