"""Damaged, hostile and odd files, made from a seed; run as a program it opens them as data, and tells what came of it.

    python damage.py FOLDER COUNT

Every one is either read or refused with one sentence that names the path. The last line says how many of which, how
many mebibytes the process had at most, and how many seconds the longest took.
"""

import functools
import gzip
import io
import lzma
import re
import struct
import sys
import tarfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

MODES = {
    "PNG": ("L", "RGB", "RGBA", "P", "1", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "BMP": ("L", "RGB"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("P", "L"),
    "TIFF": ("L", "RGB", "CMYK", "I;16", "F"),
    "AVIF": ("RGB", "RGBA"),
    "BLP": ("P",),
    "DDS": ("L", "RGBA"),
    "ICNS": ("RGB", "RGBA"),
    "ICO": ("RGB", "RGBA"),
    "IM": ("L", "P", "I;16"),
    "JPEG2000": ("L", "RGBA", "I;16"),
    "MSP": ("1",),
    "PCX": ("1", "P", "RGB"),
    "PPM": ("1", "L", "RGB", "I;16"),
    "QOI": ("RGB", "RGBA"),
    "SGI": ("L", "RGB"),
    "TGA": ("L", "P", "RGBA"),
    "XBM": ("1",),
}
USUAL = 6  # formats, the first of these, of most images
SUFFIXES = (
    ".png", ".jpg", ".gif", ".tif", ".webp", ".bmp", ".avif", ".blp", ".cur", ".dcx", ".dds", ".fits", ".fli", ".ftc",
    ".gbr", ".icns", ".ico", ".im", ".jp2", ".msp", ".pcd", ".pcx", ".pgm", ".psd", ".qoi", ".ras", ".sgi", ".tga",
    ".xbm", ".xpm",
)  # fmt: skip


def image_bytes(rng):
    """A whole image of any format and kind, sometimes animated."""
    kind = rng.choice(list(MODES)[:USUAL] if rng.random() < 0.8 else list(MODES))
    mode = rng.choice(MODES[kind])
    height, width = (int(n) for n in rng.integers(1, 90, 2))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).convert(mode)
    more = (
        {"save_all": True, "append_images": [image, image]}
        if kind in ("GIF", "WEBP", "TIFF") and rng.random() < 0.3
        else {}
    )
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def png(width, height, depth, colour, rows):
    """A PNG of any claimed size."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@functools.cache
def zeros():
    """16 MiB of zeros as a piece of raw deflate, to be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)


def bomb(rng):
    """Few bytes that claim, or become, many pixels."""
    claims = [(2**31 - 1, 1), (60_000, 60_000), (8192, 8192), (1, 2**26), (9500, 9500)]
    width, height = claims[rng.integers(len(claims))]
    depth, colour, size = [(8, 6, 4), (8, 0, 1), (16, 2, 6), (16, 0, 2), (8, 4, 2)][rng.integers(5)]
    pieces = -(-min(width * height * size + height, 2**28) // 2**24) if rng.random() < 0.3 else 0
    return png(width, height, depth, colour, b"\x78\x9c" + zeros() * pieces + b"\x03\0")


def hurt(content, rng):
    """The content with one to four injuries."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        n, injury = max(len(content), 1), rng.integers(8)
        a, length = int(rng.integers(n)), int(rng.integers(1, 64))
        if injury == 0:
            del content[a:]
        elif injury == 1:
            content[a : a + 1] = rng.bytes(1)
        elif injury == 2:
            content[a:a] = rng.bytes(length)
        elif injury == 3:
            del content[a : a + length]
        elif injury == 4:
            content[a : a + length] = bytes(length)
        elif injury == 5:
            content[a : a + 4] = b"\xff" * 4
        elif injury == 6:
            content[a:a] = content[a : a + length] * 3
        else:
            content[int(rng.integers(min(n, 64)))] ^= 1 << rng.integers(8) if len(content) else 0
    return bytes(content)


def names(rng):
    odd = [
        "a.png", "a.png", "../up.png", "/etc/root.png", "a/../../up.jpg", "x" * 300 + ".gif", "\n.png", "é\u202e.webp",
        "a\\..\\b.bmp", "deep/" * 40 + "x.tif", " .png", "con.png", "%s.png", "[red].png", "-rf.png",
    ]  # fmt: skip
    return odd[rng.integers(len(odd))]


def tar_of(files, rng):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=int(rng.integers(3))) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name[:90])
            member.size = len(content)
            if rng.random() < 0.2:
                kinds = [
                    tarfile.SYMTYPE,
                    tarfile.LNKTYPE,
                    tarfile.FIFOTYPE,
                    tarfile.CHRTYPE,
                    tarfile.DIRTYPE,
                ]
                member.type, member.size, member.linkname = (
                    kinds[rng.integers(5)],
                    0,
                    "../../etc/passwd.png",
                )
                content = b""
            if rng.random() < 0.1:
                member.pax_headers = {"comment": "x" * 100_000, "size": "99999999999999"}
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(files, rng):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", int(rng.choice([0, 8, 12, 14]))) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def growing(rng):
    """A compressed tar that becomes a gibibyte and more, as an image, as something else or as a header."""
    member = tarfile.TarInfo(["x.png", "x.bin", "x.png"][rng.integers(3)])
    member.size = int(rng.choice([2**30, 2**33, 2**62]))
    member.type = [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME][rng.integers(3)]
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    head = packer.compress(member.tobuf(tarfile.GNU_FORMAT)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + head + zeros() * 70


def array_file(rng):
    """A .npz or .npy with any header."""
    buffer = io.BytesIO()
    shape = [
        (5, 8, 8),
        (5, 8, 8, 3),
        (2**40, 8, 8),
        (-1, 8, 8),
        (0, 8, 8),
        (),
        (5, 0, 8),
        (2**20, 64, 64),
    ][rng.integers(8)]
    descr = ["|u1", "<f4", "|O", "<U9", "|b1"][rng.integers(5)] if rng.random() < 0.5 else "|u1"
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    content = buffer.getvalue() + rng.bytes(5 * 64 * int(rng.integers(1, 5)))
    return (
        zip_of([("images.npy", content), ("labels.npy", content)], rng)
        if rng.random() < 0.6
        else content
    )


def case(seed, folder):
    """Write one case; returns the configuration that opens it."""
    from l1jax.config import ArrayData, IdxData, ImageData

    rng = np.random.default_rng(seed)
    files = [(names(rng), image_bytes(rng)) for _ in range(rng.integers(1, 4))]
    damaged = [
        (name, hurt(content, rng) if rng.random() < 0.8 else content) for name, content in files
    ]
    if rng.random() < 0.1:
        damaged.append(("bomb.png", bomb(rng)))
    folder.mkdir(parents=True)
    kind = seed % 8
    skip = "skip" if rng.random() < 0.5 else "stop"
    options = {
        "image_size": int(rng.integers(1, 40)),
        "channels": int(rng.choice([1, 3])),
        "on_error": skip,
    }
    if kind == 0:
        for i, (_, content) in enumerate(damaged):
            suffix = SUFFIXES[rng.integers(len(SUFFIXES))]
            (folder / f"{i}{suffix}").write_bytes(content)
        return ImageData(str(folder), crop=int(rng.choice([0, 0, 30])), **options)
    file = folder / "data"
    if kind == 6:
        file.write_bytes(hurt(array_file(rng), rng) if rng.random() < 0.5 else array_file(rng))
        return ArrayData(str(file), options["image_size"], options["channels"])
    if kind == 7:
        for split in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
            shape = (5, 8, 8) if "images" in split else (5,)
            content = struct.pack(f">HBB{len(shape)}i", 0, 8, len(shape), *shape) + rng.bytes(
                int(np.prod(shape))
            )
            content = hurt(content, rng) if rng.random() < 0.7 else content
            packed = gzip.compress(content)
            (folder / f"{split}.gz").write_bytes(
                hurt(packed, rng) if rng.random() < 0.3 else packed
            )
        return IdxData(str(folder), image_size=options["image_size"])
    if kind == 5 and rng.random() < 0.2:
        file.write_bytes(growing(rng))
        return ImageData(str(file), **options)
    content = zip_of(damaged, rng) if kind in (1, 2) else tar_of(damaged, rng)
    content = {4: gzip.compress, 5: lzma.compress}.get(kind, bytes)(content)
    file.write_bytes(hurt(content, rng) if rng.random() < 0.5 else content)
    return ImageData(str(file), **options)


def outcome(data):
    """What comes of opening a configuration and looking at every example."""
    from l1jax.config import InputError
    from l1jax.data.opening import open_examples

    try:
        source, _ = open_examples(data)
        for i in range(source.length):
            image = source.example(i)
            assert image.shape == source.image_shape, (image.shape, source.image_shape)
            assert image.dtype == np.uint8
    except InputError as error:
        message = str(error)
        assert "\n" not in message, message
        assert message.endswith("."), message
        assert Path(data.path).name in message or "`data.crop`" in message, message
        return "refused"
    return "read in part" if source.skipped else "read"


def main(root, count):
    warnings.simplefilter("ignore")  # Pillow's, about what is then refused
    outcomes, longest = Counter(), 0.0
    for seed in range(count):
        data, began = case(seed, root / str(seed)), time.monotonic()
        try:
            outcomes[outcome(data)] += 1
        except BaseException:
            print(f"seed {seed}: {data}", file=sys.stderr)
            raise
        longest = max(longest, time.monotonic() - began)
    # Not `getrusage`: its maximum begins with that of the process which started this one.
    peak = int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10
    print(outcomes["refused"], outcomes["read in part"], outcomes["read"], peak, longest)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
