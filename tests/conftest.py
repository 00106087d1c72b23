"""Eight CPU devices, types checked at run time, and no oracle missing where all must be there.

Most of the suite's time is compilation of programs that run for a moment, so they are compiled
without optimisation. `L1JAX_OPTIMISED=1` compiles as users do; the tests that start the command
lines as processes always do.
"""

import gc
import importlib.util
import os
import sys
import tempfile
import tracemalloc  # noqa: F401 (pytest imports it where TFDS would make it a lazy module)
from collections import Counter

import jax
import numpy as np
import pytest
from fast_cases import mark_further_cases
from jaxtyping import install_import_hook
from turns import has_its_turn
from typechecker import check_when_on, checking

# Tracing makes millions of objects, and hardly any is garbage: to look for it takes long.
gc.set_threshold(20_000, 10, 20)

jax.config.update("jax_num_cpu_devices", 8)
OPTIMISED = bool(os.environ.get("L1JAX_OPTIMISED"))
jax.config.update("jax_disable_most_optimizations", not OPTIMISED)
if not OPTIMISED and jax.__version_info__ < (
    0,
    11,
):  # later ones do not start with a flag that they no longer know
    flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{flags} {os.environ.get('XLA_FLAGS', '')}"

# Newer Pythons' PyTorch comes with gigabytes of libraries for GPUs; the oldest one's tests compare
# with it.
collect_ignore = []
if sys.version_info >= (3, 12) and importlib.util.find_spec("torch") is None:
    collect_ignore += [
        f"models/test_{name}.py"
        for name in (
            "dcgan",
            "r3gan",
            "regularisation",
            "sn_resnet",
            "summary",
            "transformer_pytorch",
            "unet",
        )
    ]
    collect_ignore += [
        "test_convert_command.py",
        "audio/test_fourier_of_torch.py",
        "evaluation/test_torch_files.py",
        "evaluation/test_vision_weights.py",
    ]
if sys.version_info >= (3, 12) and importlib.util.find_spec("torch_fidelity") is None:
    collect_ignore += [
        f"evaluation/test_{name}.py" for name in ("inception", "resizing", "vision_features")
    ]

# Tests start the same run again and again: each program is compiled once, for all of pytest's
# workers, which inherit the folder. Decoded images, too, are kept for the length of the tests and
# not in the user's folder.
if "L1JAX_TESTS_KEEP" not in os.environ:
    _kept = tempfile.TemporaryDirectory(prefix="l1jax-tests-")
    os.environ["L1JAX_TESTS_KEEP"] = _kept.name
os.environ["L1JAX_CACHE_DIR"] = os.path.join(os.environ["L1JAX_TESTS_KEEP"], "decoded")
jax.config.update(
    "jax_compilation_cache_dir", os.path.join(os.environ["L1JAX_TESTS_KEEP"], "compiled")
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)  # others cost less than a file

# Types that the fast tests have checked need no check in further cases, nor on another Python.
if os.environ.get("L1JAX_UNCHECKED_TYPES"):
    collect_ignore.append("test_typechecker.py")
else:
    check_when_on()
    install_import_hook("l1jax", "typechecker.check")


LONG = (
    "test_resume", "test_digits", "test_train", "test_parallel", "test_devices_with_regularizers",
    "test_lowering", "test_contracts", "test_linen_operations", "test_stages", "test_evaluate",
    "test_slurm", "test_mpirun", "test_optimum", "test_contract", "test_compacting",
    "test_text_run", "test_select", "test_prox", "test_minimize", "test_convolutions",
    "test_precision_and_memory", "test_programs", "test_linear_families", "test_distance",
    "test_compact_transformer", "test_coupled", "test_documents", "test_checkpoint",
    "test_rollback",
)  # fmt: skip


@pytest.hookimpl(trylast=True)  # after `-m` and `-k` have chosen
def pytest_collection_modifyitems(config, items):
    """Sort the long files first, so that no worker is left alone with one at the end.

    Workers take whole files. With `L1JAX_ONE_CASE` a test has its first case only: what another
    version of Python or of a library breaks, it breaks in that too. The contracts, whose cases are
    all transformations, stay whole. With `L1JAX_TURN` slow tests take turns, see turns.py.
    """
    turns = {name: turn for turn, name in enumerate(LONG)}
    items.sort(key=lambda item: turns.get(item.path.stem, len(LONG)))
    if "L1JAX_TURN" in os.environ:
        turn = int(os.environ["L1JAX_TURN"])
        runs, rests = [], []
        for item in items:
            is_slow = bool(item.get_closest_marker("slow"))
            (rests if is_slow and not has_its_turn(item.nodeid, turn) else runs).append(item)
        config.hook.pytest_deselected(items=rests)
        items[:] = runs
    if os.environ.get("L1JAX_ONE_CASE"):
        seen = set()
        kept, left = [], []
        for item in items:
            name = item.nodeid.partition("[")[0]
            is_further = name in seen and item.path.stem != "test_contracts"
            (left if is_further else kept).append(item)
            seen.add(name)
        config.hook.pytest_deselected(items=left)
        items[:] = kept


_collected = Counter()  # cases of each test


def pytest_itemcollected(item):
    """Leave further cases of dear tests to the slow ones, before `-m` chooses."""
    if isinstance(item, pytest.Function):
        mark_further_cases(item, _collected)


_begun = set()  # the tests of which a case has begun
_starts = {}  # a generator of random numbers → its state before any test


def pytest_runtest_setup(item):
    """Give each test the same random numbers and the types' checks that it needs.

    A file's generators start again for each test: what it draws does not depend on the tests that
    ran before it, which are others in each of CI's suites. Types are checked in the first case of
    each test, because further cases call the same functions.
    """
    for value in vars(item.module).values():
        if isinstance(value, np.random.Generator):
            start = _starts.setdefault(value, value.bit_generator.state)
            value.bit_generator.state = start
    name = item.nodeid.partition("[")[0]
    checking.on = name not in _begun
    _begun.add(name)


def pytest_collection_finish():
    """Never look again at what was imported, when looking for garbage."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI a skipped test is a failed one: the oracles are installed there."""
    outcome = yield
    report = outcome.get_result()
    if os.environ.get("L1JAX_NO_SKIPS") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but nothing may be: {report.longrepr}"


@pytest.fixture(scope="module")
def one_device():
    """A machine with one device.

    Command lines that need no more compile their programs in less time.
    """
    devices = jax.devices()[:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda *_: devices)
        yield


@pytest.fixture
def x64():
    """64-bit numbers for the length of a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimised():
    """The users' optimisation for the length of a test, where rounding decides."""
    yield from _optimised(True)


@pytest.fixture
def unoptimised():
    """None for the length of a test, where the program is large and compared in float64."""
    yield from _optimised(False)


def _optimised(wanted):
    jax.config.update("jax_disable_most_optimizations", not wanted)
    yield
    jax.config.update("jax_disable_most_optimizations", not OPTIMISED)
