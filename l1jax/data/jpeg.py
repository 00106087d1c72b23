"""The plainest JPEGs, decoded without Pillow's reading of everything that a file may also hold.

For small images that reading takes longer than decoding.
"""

from PIL import Image

_START, _SCAN = 0xD8, 0xDA  # markers: the image begins, its data begins
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_HARMLESS = (
    0xDB,
    0xC4,
    0xDD,
    0xE0,
    0xFE,
)  # quantisation, Huffman tables, restart interval, JFIF, comment
_MODES = {1: "L", 3: "RGB"}


def decode_plain(encoded: bytes, most_pixels: int) -> Image.Image | None:
    """Decode a grey or coloured JPEG of 8 bits that has nothing but what JFIF asks for.

    Args:
        encoded: the file.
        most_pixels: more are not decoded here.

    Returns:
        The pixels that Pillow gives for it, or None for any other or damaged file, with EXIF, a colour profile
        or Adobe's colours for instance: what to do about that is up to the caller.
    """
    frame = _frame(encoded)
    if frame is None or frame[0] * frame[1] > most_pixels or frame[2] not in _MODES:
        return None
    width, height, components = frame
    mode = _MODES[components]
    try:
        return Image.frombytes(mode, (width, height), encoded, "jpeg", mode, "")
    except (ValueError, OSError):
        return None


def _frame(encoded: bytes) -> tuple[int, int, int] | None:
    """Width, height and components from the one frame before the first scan; None if anything is unusual."""
    frame, at = None, 2
    if encoded[:2] != bytes((0xFF, _START)):
        return None
    while len(encoded) >= at + 10 and encoded[at] == 0xFF:
        marker, length = encoded[at + 1], int.from_bytes(encoded[at + 2 : at + 4])
        if marker == _SCAN:
            return frame
        if marker in _FRAMES:
            if frame is not None or length < 11 or encoded[at + 4] != 8:
                return None
            height, width = (
                int.from_bytes(encoded[at + 5 : at + 7]),
                int.from_bytes(encoded[at + 7 : at + 9]),
            )
            if not height or not width:
                return None
            frame = width, height, encoded[at + 9]
        elif marker not in _HARMLESS or length < 2:
            return None
        at += 2 + length
    return None
