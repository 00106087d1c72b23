"""The types of arrays in annotations: jaxtyping's, without the time that importing jaxtyping takes.

A type checker reads jaxtyping's types here, and so does a program that has imported jaxtyping
before l1jax, for instance to check shapes at run time. In other programs `Float[Array, "n"]` is
`Annotated[Array, "n"]`, which keeps the words for readers. `import jaxtyping` takes a tenth of the
time of `import optax` because it loads asyncio and unittest; nothing in `import l1jax` needs them.
"""

import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

if TYPE_CHECKING:
    from jaxtyping import Array, ArrayLike, Bool, Float, Int

    PyTree: TypeAlias = Any  # jaxtyping's has no type that a checker knows
elif "jaxtyping" in sys.modules:
    from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree
else:
    from jax import Array
    from jax.typing import ArrayLike

    class Float:
        """Arrays of floating point: `Float[Array, "shape"]`."""

        def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
            """Return the type of the arrays, with their shape as a note."""
            return Annotated[item]

    Bool = Int = Float
    PyTree = Any

__all__ = ["Array", "ArrayLike", "Bool", "Float", "Int", "PyTree"]
