"""Image sets prepared by the command line."""

import gc
import os
import subprocess
import sys

import numpy as np
import pytest
from image_files import FILES, PIXELS, encode, pack, write_folder

from l1jax.config import InputError, TfdsData
from l1jax.data.opening import open_source
from l1jax.prepare import main


@pytest.fixture(scope="module", autouse=True)
def no_garbage():
    """Leave nothing of other tests to finalize while TFDS makes imports lazy, which would fail."""
    gc.collect()


CLASSES = {
    f"{kind}/{i}.png": encode(np.full((4, 4, 3), 10 * i + j, np.uint8))
    for i in range(3)
    for j, kind in enumerate("ab")
}


def refusal(arguments):
    """The one sentence that refuses the arguments."""
    with pytest.raises(InputError) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["folder", "tar.gz", "zip"])
def test_images_become_a_set_that_trains_without_tensorflow(tmp_path, capsys, kind):
    path = pack(tmp_path / "My pictures", kind)
    assert main([str(path), "--data-dir", str(tmp_path / "tfds")]) == 0
    output = capsys.readouterr().out
    assert "my_pictures/1.0.0" in output
    assert "train (6)" in output
    assert f"--data.name my_pictures:1.0.0 --data.data-dir {tmp_path / 'tfds'}" in output
    source = open_source(
        TfdsData("my_pictures:1.0.0", data_dir=str(tmp_path / "tfds"), image_size=4)
    )
    images = sorted(source.example(i).tobytes() for i in range(source.length))
    assert images == sorted(pixels.tobytes() for pixels in PIXELS.values())
    assert {source.content(i) for i in range(source.length)} == set(FILES.values())
    assert "tensorflow" not in sys.modules


def test_class_folders_become_labels_under_a_chosen_name(tmp_path, capsys):
    import tensorflow_datasets as tfds

    path = write_folder(tmp_path / "images", CLASSES)
    for _ in range(2):  # the second time the set exists
        assert main([str(path), "--name", "digits", "--data-dir", str(tmp_path / "tfds")]) == 0
        assert "prepared digits/1.0.0" in capsys.readouterr().out
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
def test_errors_are_one_sentence(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "images")
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "bad", {"x.png": b""})
    assert words in refusal([*arguments, "--data-dir", "tfds"])


def test_messages_say_which_flags_are_those_of_training(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8), np.uint8))
    sentence = refusal([str(tmp_path / "x.npy"), "--data-dir", str(tmp_path)])
    assert "`NAME_OR_FOLDER` (=" in sentence
    assert sentence.endswith("--data is a flag of python -m l1jax.train.")


def test_a_folder_that_cannot_be_written_is_an_error_of_one_sentence(tmp_path):
    path = write_folder(tmp_path / "images", CLASSES)
    (tmp_path / "file").write_text("precious")
    sentence = refusal([str(path), "--data-dir", str(tmp_path / "file")])
    assert sentence.startswith(f"`--data-dir` (={tmp_path / 'file'}) must be writable: ")


@pytest.mark.parametrize(
    ("missing", "package"), [("tensorflow", "l1jax[tfds]"), ("apache_beam", "apache_beam")]
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, missing, package):
    import tensorflow_datasets as tfds

    class Builder:
        def download_and_prepare(self):
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(tfds, "builder", lambda *_, **__: Builder())
    sentence = refusal(["mnist", "--data-dir", str(tmp_path)])
    assert f"without {missing}" in sentence
    assert f"pip install '{package}'" in sentence
    assert "FOLDER" in sentence


@pytest.mark.slow
def test_the_command_runs_as_a_process_under_its_earlier_name(tmp_path):
    write_folder(tmp_path / "images", CLASSES)
    command = [sys.executable, "-m", "l1jax.data.prepare", "images", "--data-dir", "tfds"]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert "prepared images/1.0.0 in tfds/images/1.0.0: train (6)" in ended.stdout


def run_prepare(tmp_path, capsys, *arguments):
    """The command's exit status, and what it prints or refuses."""
    try:
        status = main([*map(str, arguments), "--data-dir", str(tmp_path / "tfds")])
    except InputError as error:
        return 2, str(error)
    return status, capsys.readouterr().out


def test_other_images_under_the_same_name_are_an_error(tmp_path, capsys):
    first = write_folder(tmp_path / "a/images", {"1.png": FILES["B.PNG"]})
    second = write_folder(tmp_path / "b/images", {"1.png": FILES["a0.png"]})
    assert run_prepare(tmp_path, capsys, first)[0] == 0
    status, output = run_prepare(tmp_path, capsys, second)
    assert status == 2
    for words in (
        "`--name` (='images')",
        "was made of other images",
        "tfds/images/1.0.0",
        "give another --name",
    ):
        assert words in output
    assert run_prepare(tmp_path, capsys, first)[0] == 0  # the same again
    packed = pack(tmp_path / "images.zip", "zip", {"x/1.png": FILES["B.PNG"]})
    assert run_prepare(tmp_path, capsys, packed)[0] == 0
    assert run_prepare(tmp_path, capsys, second, "--name", "others")[0] == 0
    source = open_source(TfdsData("others:1.0.0", data_dir=str(tmp_path / "tfds"), image_size=4))
    np.testing.assert_array_equal(source.example(0), PIXELS["a0.png"])


def test_other_labels_of_the_same_images_are_another_set(tmp_path, capsys):
    path = write_folder(tmp_path / "images", CLASSES)
    assert run_prepare(tmp_path, capsys, path)[0] == 0
    status, output = run_prepare(tmp_path, capsys, path, "--labels", "none")
    assert status == 2
    assert "made of other images" in output


def test_a_set_without_a_fingerprint_is_an_error(tmp_path, capsys):
    path = write_folder(tmp_path / "images", {"1.png": FILES["B.PNG"]})
    assert run_prepare(tmp_path, capsys, path)[0] == 0
    file = tmp_path / "tfds/images/1.0.0/metadata.json"
    for content in ("{}", "[]", "{", None):
        file.unlink()
        if content is not None:
            file.write_text(content)
        status, output = run_prepare(tmp_path, capsys, path)
        assert status == 2
        assert "does not say which images" in output


NESTED = {
    f"{split}/{name}": content for split in ("train", "test") for name, content in CLASSES.items()
}


def test_folders_that_may_not_be_classes_are_an_error(tmp_path, capsys):
    path = write_folder(tmp_path / "images", NESTED)
    status, output = run_prepare(tmp_path, capsys, path)
    assert status == 2
    assert "--labels innermost" in output
    assert "--subfolder train" in output
    assert "--data." not in output  # this command has other flags
    status, output = run_prepare(tmp_path, capsys, path, "--subfolder", "train")
    assert "train (6)" in output
    source = open_source(
        TfdsData("images:1.0.0", data_dir=str(tmp_path / "tfds"), image_size=4, labels=True)
    )
    assert source.classes == ("a", "b")
    assert [int(source.example(i)[0, 0, 0]) % 10 for i in range(6)] == source.labels.tolist()


def test_unusable_images_are_left_out_on_request(tmp_path, capsys):
    path = write_folder(
        tmp_path / "images", {"1.png": FILES["B.PNG"], "2.png": b"", "3.png": b"no image"}
    )
    assert run_prepare(tmp_path, capsys, path)[0] == 2
    status, output = run_prepare(tmp_path, capsys, path, "--on-error", "skip")
    assert status == 0
    assert "train (1)" in output


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("./imagse", "the nearest name there is 'images'"),
        ("imagse/", "the nearest name there is 'images'"),
        ("~/imagse", "looks like a path, and nothing is there"),
        ("images/cta", "the nearest name there is 'images/cat'"),
        ("images.zip", "looks like a path"),
        ("nowhere\\images", "looks like a path"),
        ("https://x.org/images.zip", "an address on a network"),
        ("gs://bucket/images", "an address on a network"),
    ],
)
def test_a_mistyped_path_is_not_taken_for_a_name(tmp_path, monkeypatch, capsys, what, words):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "images", {"cat/1.png": FILES["B.PNG"], "dog/1.png": FILES["B.PNG"]})
    status, output = run_prepare(tmp_path, capsys, what)
    assert status == 2
    assert f"`NAME_OR_FOLDER` (={what!r})" in output
    assert words in output


def test_the_current_folder_can_be_prepared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(write_folder(tmp_path / "images", {"1.png": FILES["B.PNG"]}))
    assert "prepared images/1.0.0" in run_prepare(tmp_path, capsys, ".")[1]
