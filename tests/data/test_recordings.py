"""Clips from encoded recordings: rates, channels, depths, lengths, and what is refused by name."""

import io
import struct

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from l1jax.config import AudioData
from l1jax.data.recordings import fit_length, read_clip

DATA = AudioData(frames=40, hop=80)  # clips of 3,200 samples at 8 kHz


def tone(rate, seconds, hertz=440.0, loudness=0.5):
    return loudness * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def encode(samples, rate=8000, form="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def with_picture(mp3, size):
    """An MP3 with a picture of `size` bytes in an ID3 tag before it."""
    picture = b"\x89PNG" + np.random.default_rng(0).bytes(size)
    body = b"\x00image/png\x00\x03\x00" + picture
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\x00\x00" + body
    length = bytes((len(frame) >> shift) & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + length + frame + mp3


def loudest(clip):
    return np.abs(np.fft.rfft(clip)).argmax() * 8000 / len(clip)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 192_000])
def test_rates_are_resampled_and_peaks_are_1(rate):
    clip = read_clip(encode(tone(rate, 1.0), rate), DATA)
    assert clip.shape == (3200,)
    assert clip.dtype == np.float32
    assert np.abs(clip).max() == 1
    assert abs(loudest(clip) - 440) < 5


def test_resampling_agrees_with_scipy_and_leaves_out_what_is_too_high():
    signal = tone(16000, 0.4, 900) + tone(16000, 0.4, 6500)  # the second lies above 4 kHz
    expected = resample_poly(tone(16000, 0.4, 900), 1, 2)
    expected = expected / np.abs(expected).max()
    np.testing.assert_allclose(read_clip(encode(signal, 16000), DATA)[100:-100],
                               expected[100:-100], atol=0.02)  # fmt: skip


@pytest.mark.parametrize(
    ("form", "subtype", "atol"),
    [
        ("WAV", "PCM_U8", 0.02), ("WAV", "PCM_16", 1e-4), ("WAV", "PCM_24", 1e-6),
        ("WAV", "FLOAT", 1e-6), ("FLAC", "PCM_16", 1e-4), ("OGG", "VORBIS", 0.1),
        ("MP3", "MPEG_LAYER_III", 0.25), ("AIFF", "PCM_16", 1e-4), ("OGG", "OPUS", 0.25),
    ],
)  # fmt: skip
def test_formats_and_depths(form, subtype, atol):
    signal = tone(8000, 0.4)
    clip = read_clip(encode(signal, form=form, subtype=subtype), DATA)
    np.testing.assert_allclose(clip, signal / np.abs(signal).max(), atol=atol)


def test_channels_are_averaged():
    stereo = np.stack([tone(8000, 0.4, 500), tone(8000, 0.4, 1500)], axis=1)
    expected = stereo.mean(axis=1)
    np.testing.assert_allclose(
        read_clip(encode(stereo, subtype="FLOAT"), DATA), expected / np.abs(expected).max(),
        atol=1e-6,
    )  # fmt: skip


def test_values_above_1_are_scaled_and_clipped_ones_are_taken_as_they_are():
    loud = tone(8000, 0.4, loudness=4.0)
    np.testing.assert_allclose(read_clip(encode(loud, subtype="FLOAT"), DATA), loud / 4, atol=1e-6)
    clipped = np.clip(loud, -1, 1)
    np.testing.assert_allclose(read_clip(encode(clipped), DATA), clipped, atol=1e-4)


@pytest.mark.parametrize(
    ("length", "expected"),
    [(2, [2, 3]), (3, [1, 2, 3]), (4, [1, 2, 3, 4]), (6, [0, 1, 2, 3, 4, 0]),
     (7, [0, 1, 2, 3, 4, 0, 0])],
)  # fmt: skip
def test_the_middle_is_taken_and_silence_put_around(length, expected):
    np.testing.assert_array_equal(fit_length(np.arange(1, 5, dtype=np.float32), length), expected)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG"])
def test_of_a_long_recording_the_middle_alone_is_decoded(form, monkeypatch):
    """A burst in the middle of half a minute; what is decoded is counted."""
    signal = np.zeros(8000 * 30)
    signal[8000 * 15 - 200 : 8000 * 15 + 200] = tone(8000, 0.05)
    decoded = []
    read = soundfile.SoundFile.read

    def counted(self, frames, **options):
        decoded.append(frames)
        return read(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    clip = read_clip(encode(signal, form=form), DATA)
    assert decoded[0] < 8000
    inside = np.abs(clip[1400:1800]).max()
    assert inside == 1
    assert np.abs(clip[:1200]).max() < 0.05
    assert np.abs(clip[2000:]).max() < 0.05


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_an_mp3_with_a_picture_is_the_same_sound(size):
    mp3 = encode(tone(8000, 0.5), form="MP3")
    np.testing.assert_array_equal(read_clip(with_picture(mp3, size), DATA), read_clip(mp3, DATA))


FLAC = encode(np.random.default_rng(0).uniform(-0.5, 0.5, 8000), form="FLAC")
WAV = encode(tone(8000, 1.0))
BAD = {
    "nothing": (b"", "Format not recognised"),
    "a text": (b"once upon a time " * 99, "Format not recognised"),
    "0 samples": (encode(np.zeros(0)), "it holds no samples"),
    "silence": (encode(np.zeros(8000)), "it is silent: the largest value of its middle is 0.0e"),
    "hum": (encode(np.full(8000, 3e-5), subtype="FLOAT"), "it is silent"),
    "opposite channels": (encode(np.outer(tone(8000, 1), [1, -1])), "it is silent"),
    "NaN": (encode(np.array([0.1, np.nan] * 99), subtype="FLOAT"), "NaN or infinite"),
    "infinite": (encode(np.array([0.1, np.inf] * 99), subtype="FLOAT"), "NaN or infinite"),
    "half a FLAC": (FLAC[: len(FLAC) // 2], "flac"),
    "half a WAV": (WAV[: len(WAV) // 2], "cut short: 16,000 bytes of sound are announced"),
    "half an MP3": (encode(tone(8000, 2.0), form="MP3")[:3000], "it is cut short"),
    "a rate of 100": (encode(tone(100, 9.0, 5), 100), "sample rate of 100 Hz is not between"),
    "two minutes": (encode(np.zeros(8000 * 120)), "its 120 seconds are over the limit of 60"),
}


@pytest.mark.parametrize("what", list(BAD))
def test_what_cannot_be_used_is_refused_with_the_reason(what):
    encoded, words = BAD[what]
    with pytest.raises(Exception, match=words) as raised:
        read_clip(encoded, DATA)
    assert isinstance(raised.value, (ValueError, soundfile.LibsndfileError))


def test_a_wav_of_unknown_size_as_pipes_write_it_is_read():
    place = WAV.index(b"data") + 4
    piped = WAV[:place] + b"\xff\xff\xff\xff" + WAV[place + 4 :]
    np.testing.assert_array_equal(read_clip(piped, DATA), read_clip(WAV, DATA))
