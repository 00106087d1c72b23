"""Recordings of a folder, a tar or a zip as a source of log-mel spectrograms."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from l1jax import config
from l1jax.config import InputError
from l1jax.data.image_files import RECORDINGS
from l1jax.data.image_source import list_images, listing_identity
from l1jax.data.recordings import import_package, read_clip
from l1jax.data.skipped_files import first_line, unusable_file_error
from l1jax.data.source import Pixels, Source, fingerprint
from l1jax.data.spectrograms import SpectrogramMaker, mel_settings

_NOT_OF_THE_CLIPS = ("path", "subfolder", "on_error", "labels", "speaker", "most_seconds")


def open_audio(data: config.AudioData, unpack_into: Path | None = None) -> Source:
    """Open recordings as spectrograms of 8 bits, with labels from class folders.

    Names, sizes, some contents and what makes a spectrogram are in the fingerprint.

    Args:
        data: which recordings, and how spectrograms are made of them.
        unpack_into: the cache folder, in which a compressed tar is unpacked once; None to keep its
            recordings in memory.

    Raises:
        InputError: if the recordings cannot be listed, the settings contradict each other, or a
            package is missing.
    """
    soundfile = import_package("soundfile")
    import_package("soxr")  # now, and not at the first recording of another rate
    make_image = SpectrogramMaker(mel_settings(data))
    listing = list_images(data, RECORDINGS._replace(unpack_into=unpack_into))
    files = listing.files
    origin = f"`data.path` (={data.path!r})"

    def content(i: int) -> bytes:
        name = files.names[i]
        try:
            return files.read(name)
        except MemoryError:
            raise
        except Exception as error:  # a damaged archive leads to any kind of error
            raise unusable_file_error(origin, name, first_line(error), "recording") from error

    def example(i: int) -> Pixels:
        encoded = content(i)
        try:
            image = make_image(read_clip(encoded, data))
            if not image.any():
                raise ValueError("nothing in it is louder than the floor between the edges")
        except (InputError, MemoryError):
            raise
        except Exception as error:  # damaged bytes lead libsndfile to any kind of error
            reason = _reason(error)
            raise unusable_file_error(origin, files.names[i], reason, "recording") from error
        return image

    settings = {
        name: value
        for name, value in dataclasses.asdict(data).items()
        if name not in _NOT_OF_THE_CLIPS
    }
    return Source(
        length=len(files.names),
        image_shape=(data.mels, data.frames, 1),
        example=example,
        fingerprint=fingerprint("audio", listing_identity(listing, data.labels), settings),
        labels=listing.classes.labels,
        content=content,
        stamp=fingerprint(files.stamp, soundfile.__libsndfile_version__),
        skipped=listing.skipped,
        classes=listing.classes.names,
        groups=_speakers(files.names, data.speaker),
        label_ambiguity=listing.classes.ambiguity,
    )


def _speakers(names: Sequence[str], pattern: str) -> tuple[str, ...]:
    """Return the speaker of each file; nothing if there is no pattern.

    Raises:
        InputError: if the pattern has no group, or a name does not match it.
    """
    if not pattern:
        return ()
    expression = re.compile(pattern)
    if expression.groups != 1:
        raise InputError(
            f"`data.speaker` (={pattern!r}) must have one group, the speaker, and has "
            f"{expression.groups}: such as '([a-z]+)_[0-9]+'."
        )
    matches = [expression.search(name) for name in names]
    for name, match in zip(names, matches, strict=True):
        if match is None or not match[1]:
            raise InputError(
                f"`data.speaker` (={pattern!r}) must find a speaker in the name of every "
                f"recording, and finds none in {name!r}: correct it, or leave it empty."
            )
    return tuple(match[1] for match in matches if match is not None)


def _reason(error: Exception) -> str:
    """Return an error as a clause; libsndfile's words without the object that was opened."""
    words = getattr(error, "error_string", "")
    if not words:
        return first_line(error)
    words = str(words).removeprefix("Error : ").rstrip(".")
    return f"it is damaged, cut short or of another format, for libsndfile says: {words}"
