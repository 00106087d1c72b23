"""Make damaged, hostile and odd files from a seed; as a program, open them as data.

    python damaged_files.py FOLDER COUNT

Every file must either be read, or raise an error of one sentence that names the path. The last line
printed holds the number of files that raised an error, were read in part and were read; the most
mebibytes that the process had; and the seconds that the slowest took.
"""

import functools
import gzip
import io
import lzma
import math
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
USUAL_FORMATS = list(MODES)[:6]
SUFFIXES = (
    ".png", ".jpg", ".gif", ".tif", ".webp", ".bmp", ".avif", ".blp", ".cur", ".dcx", ".dds",
    ".fits", ".fli", ".ftc", ".gbr", ".icns", ".ico", ".im", ".jp2", ".msp", ".pcd",
    ".pcx", ".pgm", ".psd", ".qoi", ".ras", ".sgi", ".tga", ".xbm", ".xpm",
)  # fmt: skip
ODD_NAMES = (
    "a.png", "a.png", "../up.png", "/etc/root.png", "a/../../up.jpg", "x" * 300 + ".gif", "\n.png",
    "é\u202e.webp", "a\\..\\b.bmp", "deep/" * 40 + "x.tif", " .png", "con.png", "%s.png",
    "[red].png", "-rf.png",
)  # fmt: skip


def happens(rng, probability):
    return rng.random() < probability


def choose(rng, options):
    return options[rng.integers(len(options))]


def image_bytes(rng):
    """A whole image of any format and mode, sometimes animated."""
    formats = USUAL_FORMATS if happens(rng, 0.8) else list(MODES)
    kind = rng.choice(formats)
    mode = rng.choice(MODES[kind])
    height, width = rng.integers(1, 90, 2).tolist()
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).convert(mode)
    frames = {}
    if kind in ("GIF", "WEBP", "TIFF") and happens(rng, 0.3):
        frames = {"save_all": True, "append_images": [image, image]}
    buffer = io.BytesIO()
    image.save(buffer, kind, **frames)
    return buffer.getvalue()


def png(width, height, depth, colour, rows):
    """A PNG that claims any size."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@functools.cache
def zeros():
    """16 MiB of zeros as a piece of raw deflate, to be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)


def bomb(rng):
    """Few bytes that claim, or become, many pixels."""
    claims = [(2**31 - 1, 1), (60_000, 60_000), (8192, 8192), (1, 2**26), (9500, 9500)]
    kinds = [(8, 6, 4), (8, 0, 1), (16, 2, 6), (16, 0, 2), (8, 4, 2)]  # depth, colour, bytes
    width, height = choose(rng, claims)
    depth, colour, pixel_bytes = choose(rng, kinds)
    pieces = 0
    if happens(rng, 0.3):
        pieces = math.ceil(min(width * height * pixel_bytes + height, 2**28) / 2**24)
    return png(width, height, depth, colour, b"\x78\x9c" + zeros() * pieces + b"\x03\0")


def corrupt(content, rng):
    """The content, damaged in one to four places."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        size = max(len(content), 1)
        kind = rng.integers(8)
        start = int(rng.integers(size))
        length = int(rng.integers(1, 64))
        if kind == 0:
            del content[start:]
        elif kind == 1:
            content[start : start + 1] = rng.bytes(1)
        elif kind == 2:
            content[start:start] = rng.bytes(length)
        elif kind == 3:
            del content[start : start + length]
        elif kind == 4:
            content[start : start + length] = bytes(length)
        elif kind == 5:
            content[start : start + 4] = b"\xff" * 4
        elif kind == 6:
            content[start:start] = content[start : start + length] * 3
        elif content:
            content[int(rng.integers(min(size, 64)))] ^= 1 << rng.integers(8)
    return bytes(content)


def perhaps_corrupt(content, rng, probability):
    if happens(rng, probability):
        return corrupt(content, rng)
    return content


def tar_of(files, rng):
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=int(rng.integers(3))) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name[:90])
            member.size = len(content)
            if happens(rng, 0.2):
                member.type = choose(rng, kinds)
                member.size = 0
                member.linkname = "../../etc/passwd.png"
                content = b""
            if happens(rng, 0.1):
                member.pax_headers = {"comment": "x" * 100_000, "size": "99999999999999"}
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(files, rng):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", int(rng.choice([0, 8, 12, 14]))) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_bomb(rng):
    """A compressed tar that becomes a gibibyte and more: an image, another file or a header."""
    member = tarfile.TarInfo(choose(rng, ["x.png", "x.bin", "x.png"]))
    member.size = int(rng.choice([2**30, 2**33, 2**62]))
    member.type = choose(rng, [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    head = packer.compress(member.tobuf(tarfile.GNU_FORMAT)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + head + zeros() * 70


def array_file(rng):
    """A .npz or .npy with any header."""
    shapes = [
        (5, 8, 8), (5, 8, 8, 3), (2**40, 8, 8), (-1, 8, 8), (0, 8, 8), (), (5, 0, 8),
        (2**20, 64, 64),
    ]  # fmt: skip
    shape = choose(rng, shapes)
    dtypes = ["|u1", "<f4", "|O", "<U9", "|b1"] if happens(rng, 0.5) else ["|u1"]
    header = {"descr": choose(rng, dtypes), "fortran_order": False, "shape": shape}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header)
    content = buffer.getvalue() + rng.bytes(5 * 64 * int(rng.integers(1, 5)))
    if happens(rng, 0.6):
        return zip_of([("images.npy", content), ("labels.npy", content)], rng)
    return content


def idx_bytes(shape, rng):
    header = struct.pack(f">HBB{len(shape)}i", 0, 8, len(shape), *shape)
    return header + rng.bytes(math.prod(shape))


def write_case(seed, folder):
    """Write one case; return the configuration that opens it."""
    from l1jax.config import ArrayData, IdxData, ImageData

    rng = np.random.default_rng(seed)
    files = [
        (choose(rng, ODD_NAMES), perhaps_corrupt(image_bytes(rng), rng, 0.8))
        for _ in range(rng.integers(1, 4))
    ]
    if happens(rng, 0.1):
        files.append(("bomb.png", bomb(rng)))
    folder.mkdir(parents=True)
    options = {
        "image_size": int(rng.integers(1, 40)),
        "channels": int(rng.choice([1, 3])),
        "on_error": str(rng.choice(["skip", "stop"])),
    }
    kind = seed % 8
    if kind == 0:
        for i, (_, content) in enumerate(files):
            (folder / f"{i}{choose(rng, SUFFIXES)}").write_bytes(content)
        return ImageData(str(folder), crop=int(rng.choice([0, 0, 30])), **options)
    path = folder / "data"
    if kind == 6:
        path.write_bytes(perhaps_corrupt(array_file(rng), rng, 0.5))
        return ArrayData(str(path), options["image_size"], options["channels"])
    if kind == 7:
        shapes = {"train-images-idx3-ubyte": (5, 8, 8), "train-labels-idx1-ubyte": (5,)}
        for name, shape in shapes.items():
            packed = gzip.compress(perhaps_corrupt(idx_bytes(shape, rng), rng, 0.7))
            (folder / f"{name}.gz").write_bytes(perhaps_corrupt(packed, rng, 0.3))
        return IdxData(str(folder), image_size=options["image_size"])
    if kind == 5 and happens(rng, 0.2):
        path.write_bytes(tar_bomb(rng))
        return ImageData(str(path), **options)
    packers = {
        1: zip_of,
        2: zip_of,
        3: tar_of,
        4: lambda files, rng: gzip.compress(tar_of(files, rng)),
        5: lambda files, rng: lzma.compress(tar_of(files, rng)),
    }
    path.write_bytes(perhaps_corrupt(packers[kind](files, rng), rng, 0.5))
    return ImageData(str(path), **options)


def outcome(data):
    """What comes of opening a configuration and decoding every example."""
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
        return "error"
    if source.skipped:
        return "read in part"
    return "read"


def main(root, count):
    warnings.simplefilter("ignore")  # Pillow's, about files that then raise an error
    outcomes = Counter()
    longest = 0.0
    for seed in range(count):
        data = write_case(seed, root / str(seed))
        start = time.monotonic()
        try:
            outcomes[outcome(data)] += 1
        except BaseException:
            print(f"seed {seed}: {data}", file=sys.stderr)
            raise
        longest = max(longest, time.monotonic() - start)
    # Not `getrusage`: its maximum begins with that of the process which started this one.
    peak = int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10
    print(outcomes["error"], outcomes["read in part"], outcomes["read"], peak, longest)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
