"""One process agrees with itself, and shares of work cover all of it once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.processes import agreement


def test_one_process_leads_and_hears_itself():
    assert agreement.num_processes() == 1
    assert agreement.is_leader()
    assert agreement.gather({"a": 1}) == [{"a": 1}]
    assert agreement.lead(lambda: 3) == 3
    agreement.require_same("the seed", 0, "give one")
    (arrays,) = agreement.gather_arrays([np.arange(3)])
    np.testing.assert_array_equal(arrays[0], [0, 1, 2])


def test_what_process_0_does_alone_exchanges_nothing(monkeypatch):
    monkeypatch.setattr(agreement, "num_processes", lambda: 2)
    with pytest.raises(AssertionError, match="does alone"):
        agreement.lead(lambda: agreement.gather(1))
    monkeypatch.setattr(agreement, "_exchange_padded", lambda text, length, size: [(length, text)])
    assert agreement.lead(lambda: 3) == 3


def test_its_errors_are_its_own():
    def refuse():
        raise InputError("`steps` (=0) must be at least 1.")

    with pytest.raises(InputError, match="must be at least 1"):
        agreement.lead(refuse)
    with pytest.raises(InputError) as raised, agreement.shared_errors():
        refuse()
    assert not isinstance(raised.value, agreement.SharedError)


@pytest.mark.parametrize("num_processes", [1, 2, 3, 8])
@pytest.mark.parametrize("num_rows", [1, 5, 8, 17])
def test_shares_of_rows_are_all_rows_in_order(num_processes, num_rows, monkeypatch):
    """The exchange is replaced: every process's share is computed in turn."""
    block = 2
    asked = []

    def compute(start, stop):
        asked.append((start, stop))
        rows = np.arange(start, stop)
        return [rows, rows[:, None] * 10.0]

    shares = []

    def keep(mine):
        shares.append(list(mine))
        return []

    monkeypatch.setattr(agreement, "num_processes", lambda: num_processes)
    monkeypatch.setattr(agreement, "gather_arrays", keep)
    for process in range(num_processes):
        monkeypatch.setattr(agreement, "process_index", lambda process=process: process)
        agreement.divide_rows(num_rows, block, compute)
    monkeypatch.setattr(agreement, "gather_arrays", lambda mine: shares)
    rows, tens = agreement.divide_rows(num_rows, block, compute)
    np.testing.assert_array_equal(rows, np.arange(num_rows))
    np.testing.assert_array_equal(tens, np.arange(num_rows)[:, None] * 10.0)
    assert all(start % block == 0 for start, _ in asked)


def test_items_are_shared_once():
    items = agreement.divide_items(5, lambda item: item * item)
    assert items == {0: 0, 1: 1, 2: 4, 3: 9, 4: 16}


def test_arrays_on_several_devices_are_fetched_whole():
    mesh = jax.make_mesh((8,), ("a",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("a"))
    tree = {"x": jax.device_put(jnp.arange(16.0), sharding), "n": np.int32(3)}
    fetched = agreement.fetch(tree)
    np.testing.assert_array_equal(fetched["x"], np.arange(16.0))
    assert fetched["n"] == 3
