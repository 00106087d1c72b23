"""The README's first command draws digits of all ten classes.

Its generator is sparse.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC


def command(module, *arguments):
    run = [sys.executable, "-m", module, *map(str, arguments)]
    environment = {
        name: value for name, value in os.environ.items() if name != "XLA_FLAGS"
    }  # conftest.py sets them
    return subprocess.run(run, capture_output=True, text=True, check=True, env=environment).stdout


@pytest.mark.slow
def test_the_default_experiment_draws_all_ten_digits_with_seventy_percent_zeros_in_half_its_steps(
    tmp_path,
):
    workdir = tmp_path / "digits"
    output = command("l1jax.train", "--workdir", workdir, "--steps", 15_000)
    for name in ("samples/step_015000.png", "checkpoints/15000", "metrics.jsonl"):
        assert str(workdir / name) in output
        assert (workdir / name).exists()
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["generator/sparsity"] >= 0.7
    assert last["kernel_distance"] <= 0.002

    command(
        "l1jax.sample", "--workdir", workdir, "--count", 1000, "--output", tmp_path / "samples.npz"
    )
    samples = np.load(tmp_path / "samples.npz")["images"].reshape(1000, 64)
    pixels, labels = load_digits(return_X_y=True)
    pixels = np.rint(pixels * 255 / 16)
    fit_pixels, test_pixels, fit_labels, test_labels = train_test_split(
        pixels, labels, random_state=0
    )
    classifier = SVC().fit(fit_pixels, fit_labels)
    assert classifier.score(test_pixels, test_labels) > 0.97
    counts = np.bincount(classifier.predict(samples), minlength=10)
    assert counts.min() >= 20, f"every digit must be at least 2 % of the samples, not {counts}"
