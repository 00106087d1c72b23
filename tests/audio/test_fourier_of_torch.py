"""The short-time transform and its inverse against PyTorch's."""

import jax.numpy as jnp
import numpy as np
import torch

from l1jax.audio import framing, istft, stft

SIGNAL = np.random.default_rng(0).standard_normal(1000).astype(np.float32)


def test_transform_and_inverse_are_those_of_pytorch():
    frames = framing(64, 16, centered=True)
    window = torch.hann_window(64)
    theirs = torch.stft(
        torch.tensor(SIGNAL), 64, 16, window=window, pad_mode="constant", return_complex=True
    )
    np.testing.assert_allclose(stft(jnp.asarray(SIGNAL), frames), theirs.T, atol=1e-4)
    changed = theirs * torch.linspace(0, 2, 33)[:, None]  # no transform of any signal
    signal = torch.istft(changed, 64, 16, window=window, length=1000)
    ours = istft(jnp.asarray(changed.T.numpy()), frames, 1000)
    np.testing.assert_allclose(ours, signal, atol=1e-5)
