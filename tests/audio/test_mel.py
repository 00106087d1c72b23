"""Mel filters against librosa's."""

import librosa
import numpy as np
import pytest

from l1jax.audio import hz_to_mel, mel_filters, mel_to_hz

NORMS = {"area": "slaney", "sum": 1, "peak": None}


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("normalisation", list(NORMS))
@pytest.mark.parametrize(
    ("rate", "n_fft", "mels", "lowest", "highest"),
    [(8000, 512, 64, 40.0, None), (22050, 1024, 80, 0.0, 8000.0)],
)
def test_filters_are_those_of_librosa(scale, normalisation, rate, n_fft, mels, lowest, highest):
    ours = mel_filters(rate, n_fft, mels, lowest, highest, scale, normalisation)
    theirs = librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=mels, fmin=lowest, fmax=highest,
        htk=scale == "htk", norm=NORMS[normalisation], dtype=np.float64,
    )  # fmt: skip
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mel_and_hertz_convert_as_in_librosa_and_back(scale):
    hertz = np.linspace(0, 20_000, 101)
    mel = hz_to_mel(hertz, scale)
    np.testing.assert_allclose(mel, librosa.hz_to_mel(hertz, htk=scale == "htk"), rtol=1e-12)
    np.testing.assert_allclose(mel_to_hz(mel, scale), hertz, atol=1e-9)


def test_edges_out_of_order_are_refused():
    with pytest.raises(ValueError, match=r"`highest` \(=5000\) must be in order"):
        mel_filters(8000, 512, 64, 40, 5000)
    with pytest.raises(ValueError, match=r"`lowest` \(=300\)"):
        mel_filters(8000, 512, 64, 300, 200)


def test_bands_between_two_frequencies_are_refused():
    with pytest.raises(ValueError, match=r"`mels` \(=200\) must be so few .* `n_fft` \(=256\)"):
        mel_filters(8000, 256, 200)
