import os
import subprocess
import sys

import numpy as np
import pytest
from image_files import FILES, PIXELS, encode, pack, write_folder

from l1jax.config import TfdsData
from l1jax.data.prepare import main
from l1jax.data.sources import open_source

CLASSES = {
    f"{kind}/{i}.png": encode(np.full((4, 4, 3), 10 * i + j, np.uint8)) for i in range(3) for j, kind in enumerate("ab")
}


@pytest.mark.parametrize("kind", ["folder", "tar.gz", "zip"])
def test_images_become_a_set_that_trains_without_tensorflow(tmp_path, capsys, kind):
    path = pack(tmp_path / "My pictures", kind)
    assert main([str(path), "--data-dir", str(tmp_path / "tfds")]) == 0
    output = capsys.readouterr().out
    assert "my_pictures/1.0.0" in output
    assert "train (6)" in output
    assert f"--data.name my_pictures:1.0.0 --data.data-dir {tmp_path / 'tfds'}" in output
    source = open_source(TfdsData("my_pictures:1.0.0", data_dir=str(tmp_path / "tfds"), image_size=4))
    found = sorted(source.example(i).tobytes() for i in range(source.length))
    assert found == sorted(pixels.tobytes() for pixels in PIXELS.values())
    assert {source.content(i) for i in range(source.length)} == set(FILES.values())
    assert "tensorflow" not in sys.modules


def test_class_folders_become_labels_under_a_chosen_name(tmp_path, capsys):
    import tensorflow_datasets as tfds

    path = write_folder(tmp_path / "images", CLASSES)
    for expected in ("prepared digits/1.0.0", "prepared digits/1.0.0"):  # twice: the second finds it
        assert main([str(path), "--name", "digits", "--data-dir", str(tmp_path / "tfds")]) == 0
        assert expected in capsys.readouterr().out
    builder = tfds.builder("digits:1.0.0", data_dir=tmp_path / "tfds")
    assert builder.info.features["label"].names == ["a", "b"]
    data = builder.as_data_source(split="train")
    assert sorted((int(row["image"][0, 0, 0]), int(row["label"])) for row in data) == [
        (value, value % 10) for value in (0, 1, 10, 11, 20, 21)
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "'nowhere' is neither a folder or file nor a set that TFDS knows"),
        (["images", "--name", "1 2"], "`--name` (='1 2') must begin with a letter"),
        (["empty"], "holds no images"),
        (["bad"], "'x.png', which cannot be used (it has 0 bytes)"),
    ],
)
def test_what_cannot_be_prepared_is_told_in_a_sentence(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "images")
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "bad", {"x.png": b""})
    assert main([*arguments, "--data-dir", "tfds"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize("missing", ["tensorflow", "apache_beam"])
def test_what_must_be_installed_first_is_told(tmp_path, monkeypatch, capsys, missing):
    import tensorflow_datasets as tfds

    class Builder:
        def download_and_prepare(self):
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(tfds, "builder", lambda *_, **__: Builder())
    assert main(["mnist", "--data-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"without {missing}" in said
    assert ("pip install 'l1jax[tfds]'" if missing == "tensorflow" else "pip install 'apache_beam'") in said
    assert "FOLDER" in said


def test_the_command_line(tmp_path):
    write_folder(tmp_path / "images", CLASSES)
    command = [sys.executable, "-m", "l1jax.data.prepare", "images", "--data-dir", "tfds"]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "prepared images/1.0.0 in tfds/images/1.0.0: train (6)" in ended.stdout
