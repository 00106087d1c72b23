"""Decode the plainest JPEGs without Pillow's reading of everything else that a file may hold.

For small images that reading takes longer than the decoding.
"""

from typing import NamedTuple

from PIL import Image

_START = b"\xff\xd8"  # the marker that begins an image
_SCAN = 0xDA  # the marker that begins its data
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_QUANTIZATION = 0xDB
_HUFFMAN_TABLES = 0xC4
_RESTART_INTERVAL = 0xDD
_JFIF = 0xE0
_COMMENT = 0xFE
_HARMLESS = (_QUANTIZATION, _HUFFMAN_TABLES, _RESTART_INTERVAL, _JFIF, _COMMENT)
_MODES = {1: "L", 3: "RGB"}  # by the number of components


class _Frame(NamedTuple):
    """What the header of a frame says of the image."""

    width: int
    height: int
    components: int


def decode_plain(encoded: bytes, most_pixels: int) -> Image.Image | None:
    """Decode a grey or coloured JPEG of 8 bits that holds nothing but what JFIF asks for.

    Args:
        encoded: the file's content.
        most_pixels: largest number of pixels to decode.

    Returns:
        The pixels that Pillow gives for it. None for a larger, damaged or other file, such as one
        with EXIF, a colour profile or Adobe's colours, which the caller must decode in full.
    """
    frame = _read_frame(encoded)
    if frame is None or frame.width * frame.height > most_pixels:
        return None
    if frame.components not in _MODES:
        return None
    mode = _MODES[frame.components]
    try:
        return Image.frombytes(mode, (frame.width, frame.height), encoded, "jpeg", mode, "")
    except (ValueError, OSError):
        return None


def _read_frame(encoded: bytes) -> _Frame | None:
    """Return the one frame before the first scan; None if anything in the file is unusual.

    Source: ITU-T T.81, annex B: segments of a marker (two bytes), a length (two bytes, big-endian,
        counting itself) and content.
    """
    if not encoded.startswith(_START):
        return None
    frame = None
    position = len(_START)
    while len(encoded) >= position + 10 and encoded[position] == 0xFF:
        marker = encoded[position + 1]
        length = int.from_bytes(encoded[position + 2 : position + 4])
        if marker == _SCAN:
            return frame
        if marker in _FRAMES:
            bits = encoded[position + 4]
            if frame is not None or length < 11 or bits != 8:
                return None
            height = int.from_bytes(encoded[position + 5 : position + 7])
            width = int.from_bytes(encoded[position + 7 : position + 9])
            if not height or not width:
                return None
            frame = _Frame(width, height, components=encoded[position + 9])
        elif marker not in _HARMLESS or length < 2:
            return None
        position += 2 + length
    return None
