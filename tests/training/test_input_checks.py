import sys

import jax
import jax.numpy as jnp
import pytest

from l1jax import select, train
from l1jax.config import InputError
from l1jax.training.input_checks import available_memory, check_memory

STATE = {
    "kernel": jax.ShapeDtypeStruct((10, 100), jnp.float32),  # 4,000 bytes
    "bias": jax.ShapeDtypeStruct((100,), jnp.bfloat16),  # 200 bytes
}


@pytest.mark.parametrize("available", [4200, 10**12, None])
def test_a_state_that_fits_or_of_which_nothing_is_known_is_accepted(available):
    check_memory(STATE, available)


def test_a_state_larger_than_the_memory_is_refused_with_its_largest_array():
    with pytest.raises(InputError, match=r"`model` .* kernel with 0\.0 GB"):
        check_memory(STATE, 4199)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_is_that_of_the_machine():
    with open("/proc/meminfo", encoding="ascii") as file:
        kilobytes = int(file.readline().split()[1])
    assert available_memory() == pytest.approx(1024 * kilobytes, rel=1e-6)


@pytest.mark.parametrize("main", [train.main, select.main])
def test_a_network_too_large_for_any_machine_is_refused_before_it_is_made(main, tmp_path):
    channels = ["--model.discriminator-channels", "2147483647"]
    with pytest.raises(InputError, match=r"`model` .* discriminator/params/.* GB\.$"):
        main(["--workdir", str(tmp_path / "run"), *channels])
    assert not (tmp_path / "run").exists()
