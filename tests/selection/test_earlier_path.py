"""A path that an earlier version of l1jax wrote opens, and training resumes in its middle."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from l1jax import select

pytestmark = pytest.mark.usefixtures("one_device")

# Stopped by a signal in its second stage, after the worse half of the strengths was stopped.
# `expected.json` is the `path.json` of the same path without the signal.
PATH = Path(__file__).parent / "paths_of_version_0_1_0" / "halved.tar.xz"
FLAGS = (
    "--config vae_digits --model.latent-size 2 --model.hidden 3 --batch-size 16 --steps 24 "
    "--log-every 2 --sample-every 24 --checkpoint-every 4 --generator.learning-rate 5e-3 "
    "--strengths 1e-1,1,10 --folds 2 --halvings 1 --no-refit --how together"
).split()


@pytest.mark.slow
def test_a_path_of_an_earlier_version_resumes(tmp_path):
    shutil.unpack_archive(PATH, tmp_path, filter="data")
    assert [int(step.name) for step in tmp_path.glob("path/together-1/checkpoints/*")] == [18]
    assert select.main([*FLAGS, "--workdir", str(tmp_path)]) == 0
    path = json.loads((tmp_path / "path.json").read_text())
    expected = json.loads((tmp_path / "expected.json").read_text())
    for name in ("chosen", "minimum", "one_standard_error"):
        assert path[name]["index"] == expected[name]["index"]
    for point, other in zip(path["points"], expected["points"], strict=True):
        assert (point["strength"], point["trained"]) == (other["strength"], other["trained"])
        assert point["zeros"] == pytest.approx(other["zeros"], abs=0.01)
        for name in ("log_likelihood", "kernel_distance"):
            np.testing.assert_allclose(
                point["scores"][name]["each"], other["scores"][name]["each"], rtol=1e-3
            )
