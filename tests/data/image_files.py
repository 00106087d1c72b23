"""Images in folders, tars and zips, made by the tests."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from l1jax.config import ImageData, InputError
from l1jax.data.opening import open_source

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)
NAMES = [
    "B.PNG",
    "a/1.png",
    "a/10.png",
    "a/b/x.png",
    "a/é 2.png",
    "a0.png",
]  # in the order of code points
PIXELS = {name: RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8) for name in NAMES}


def encode(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


FILES = {name: encode(PIXELS[name]) for name in reversed(NAMES)}


def write_folder(root, files=FILES):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tar_bytes(files=FILES, prefix=""):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size, member.mtime = len(content), 1
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(files=FILES, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def pack(path, kind, files=FILES):
    """Write the files as a folder or as an archive."""
    if kind == "folder":
        return write_folder(path, files)
    packers = {
        "tar": bytes,
        "tar.gz": gzip.compress,
        "tar.xz": lzma.compress,
        "tar.bz2": bz2.compress,
    }
    path.write_bytes(zip_bytes(files) if kind == "zip" else packers[kind](tar_bytes(files)))
    return path


def open_images(path, image_size=4, **options):
    return open_source(ImageData(str(path), image_size=image_size, **options))


def only(folder, content, name="image.png", **options):
    """The one image of a folder that holds `content`."""
    write_folder(folder, {name: content})
    return open_images(folder, **options).example(0)


def refusal(call, *words):
    """The one sentence of the InputError that `call` raises; it must hold all of `words`."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message
    return message
