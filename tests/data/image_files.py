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
# In the order of code points.
NAMES = ["B.PNG", "a/1.png", "a/10.png", "a/b/x.png", "a/é 2.png", "a0.png"]
PIXELS = {name: RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8) for name in NAMES}


def encode(pixels, kind="PNG", **options):
    """The encoded image of an array or of a Pillow image."""
    if not isinstance(pixels, Image.Image):
        pixels = Image.fromarray(pixels)
    buffer = io.BytesIO()
    pixels.save(buffer, kind, **options)
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
            member.size = len(content)
            member.mtime = 1
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
    if kind == "zip":
        path.write_bytes(zip_bytes(files))
        return path
    compress = {
        "tar": bytes,
        "tar.gz": gzip.compress,
        "tar.xz": lzma.compress,
        "tar.bz2": bz2.compress,
    }
    path.write_bytes(compress[kind](tar_bytes(files)))
    return path


def open_images(path, image_size=4, **options):
    return open_source(ImageData(str(path), image_size=image_size, **options))


def open_single(folder, content, name="image.png", **options):
    """The one image of a folder that holds `content`."""
    write_folder(folder, {name: content})
    return open_images(folder, **options).example(0)


def input_error(call, *words):
    """The message of the InputError that `call` raises: one sentence with all of `words`."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message
    return message
