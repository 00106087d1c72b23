"""`import l1jax` is as light as `import optax`."""

import subprocess
import sys

import pytest

import l1jax
from l1jax.extras import EXTRAS


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_importing_l1jax_adds_only_itself_to_jax_and_optax():
    added = modules_after("import l1jax") - modules_after("import optax")
    assert added == {"l1jax"}, "take array types from `l1jax.annotations` instead of jaxtyping"


@pytest.mark.slow
def test_importing_l1jax_leaves_the_configuration_and_the_heavy_libraries_alone():
    unwanted = "{'l1jax.config', 'l1jax.models', 'l1jax.cli', 'l1jax.selection'}"
    loaded = modules_after(f"import l1jax; assert not {unwanted} & set(sys.modules)")
    assert not loaded & (set(EXTRAS) - modules_after("import optax"))


def test_importing_l1jax_loads_no_further_module_of_jax():
    names = "{name for name in sys.modules if not name.startswith('l1jax')}"
    modules_after(
        f"import optax; before = set(sys.modules); import l1jax; assert {names} == before"
    )


@pytest.mark.slow
def test_what_is_loaded_at_its_first_use_is_public():
    statement = (
        "import l1jax; assert 'l1jax.solve' not in sys.modules and 'minimize' in dir(l1jax); "
        "from l1jax import minimize; assert l1jax.minimize is minimize is l1jax.solve.minimize"
    )
    modules_after(statement)
    with pytest.raises(AttributeError, match="module 'l1jax' has no attribute 'minimise'"):
        l1jax.minimise  # noqa: B018


def test_annotations_are_those_of_jaxtyping_where_that_is_loaded():
    statement = "import jaxtyping, l1jax; assert l1jax.annotations.Float is jaxtyping.Float"
    assert "jaxtyping" in modules_after(statement)


def test_annotations_keep_their_words_without_jaxtyping():
    statement = (
        "import jax, typing, l1jax; "
        "hints = typing.get_type_hints(l1jax.soft_threshold, include_extras=True); "
        "assert hints['return'] == typing.Annotated[jax.Array, '...']"
    )
    assert "jaxtyping" not in modules_after(statement)
