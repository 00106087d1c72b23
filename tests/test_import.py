"""`import l1jax` is as light as `import optax`."""

import subprocess
import sys

HEAVY = [
    "flax",
    "orbax",
    "grain",
    "matplotlib",
    "tensorflow_datasets",
    "sklearn",
    "PIL",
    "rich",
    "tyro",
    "tensorboardX",
]


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_importing_l1jax_adds_only_itself_and_jaxtyping_to_jax_and_optax():
    extra = modules_after("import l1jax") - modules_after("import jax, optax, jaxtyping")
    printer = {"wadler_lindig"}  # jaxtyping's own, a few lines that show arrays
    assert extra - printer == {"l1jax"}


def test_importing_l1jax_leaves_the_heavy_libraries_alone():
    assert not modules_after("import l1jax") & set(HEAVY)
