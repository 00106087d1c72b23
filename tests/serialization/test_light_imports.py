"""Opening a generator does not load the graph pass that made it."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_sample_does_not_import_compaction():
    program = (
        "import sys, l1jax.sample; assert not any('l1jax.compaction' in m for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
