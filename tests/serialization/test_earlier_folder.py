"""Model folders that an earlier version of l1jax wrote still draw the images that it drew."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from l1jax import sample

FOLDERS = sorted((Path(__file__).parent / "folders_of_version_0_1_0").glob("*.tar.xz"))


def test_there_are_folders_to_open():
    assert [path.name for path in FOLDERS] == ["compacted.tar.xz", "exported.tar.xz"]


@pytest.mark.parametrize("archive", FOLDERS, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_a_folder_draws_the_images_that_the_version_drew_that_wrote_it(archive, tmp_path):
    shutil.unpack_archive(archive, tmp_path, filter="data")
    folder = tmp_path / archive.name.removesuffix(".tar.xz")
    drawn = tmp_path / "grid.png"
    arguments = ["--count", "9", "--seed", "0", "--output", str(drawn)]
    sample.main(["--model", str(folder), *arguments])
    before = np.asarray(Image.open(folder / "images.png")).astype(int)
    now = np.asarray(Image.open(drawn)).astype(int)
    assert before.std() > 10
    assert now.shape == before.shape
    assert np.abs(now - before).max() <= 1
