"""A network as a table: layers, output shapes, parameters and FLOPs."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

import jax
from flax import linen as nn

MAX_WIDTH = 100  # characters of a line


class Layer(NamedTuple):
    """A layer that has parameters of its own, not only in the layers within it."""

    name: str
    kind: str
    output: tuple[int, ...]  # of one example
    parameters: int
    flops: int  # of one example, forward


def layers(init: Callable[..., Any]) -> list[Layer]:
    """List the layers with parameters that a network calls, in order, without computing anything.

    FLOPs are two for each multiplication of a kernel's entry with an activation, at every pixel
    where a convolution is placed, however it is computed. Biases, norms, activations and resampling
    are left out; they are a few per cent.

    Args:
        init: a network's `init`, which calls its module on one example.
    """
    records: dict[str, Layer] = {}

    def record(
        call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        output = call(*args, **kwargs)
        module = context.module
        variables = module.variables.get("params", {})
        params = {name: leaf for name, leaf in variables.items() if not isinstance(leaf, Mapping)}
        if params and context.method_name == "__call__":
            placed_on = args[0] if _placed_on_input(module) else output
            pixels = prod(placed_on.shape[1:-1])
            name = "/".join(module.path)
            suffix = "Transpose" if getattr(module, "transposed", False) else ""
            records[name] = Layer(
                name=name,
                kind=type(module).__name__ + suffix,
                output=output.shape[1:],
                parameters=sum(leaf.size for leaf in params.values()),
                flops=2 * params["kernel"].size * pixels if "kernel" in params else 0,
            )
        return output

    with nn.intercept_methods(record):
        jax.eval_shape(
            lambda key: init(key), jax.random.key(0)
        )  # a new function, which JAX has not traced yet
    return list(records.values())


def summarise(init: Callable[..., Any], title: str) -> str:
    """Tabulate a network's layers: output shapes, parameters and forward FLOPs of one example.

    Lines have at most 100 characters; a path that is too long loses its beginning.

    Args:
        init: a network's `init`.
        title: heading above the table.
    """
    rows = layers(init)
    cells = [("layer", "kind", "output", "parameters", "FLOPs")]
    cells += [
        (r.name, r.kind, " × ".join(map(str, r.output)), f"{r.parameters:,}", f"{r.flops:,}")
        for r in rows
    ]
    cells += [
        ("total", "", "", f"{sum(r.parameters for r in rows):,}", f"{sum(r.flops for r in rows):,}")
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    widths[0] = min(widths[0], MAX_WIDTH - sum(widths[1:]) - 4 * 2)

    def line(row: tuple[str, ...]) -> str:
        name = row[0] if len(row[0]) <= widths[0] else f"…{row[0][1 - widths[0] :]}"
        texts = [
            text.ljust(width) for text, width in zip((name, *row[1:3]), widths[:3], strict=True)
        ]
        numbers = [text.rjust(width) for text, width in zip(row[3:], widths[3:], strict=True)]
        return "  ".join([*texts, *numbers])

    rule = "─" * (sum(widths) + 4 * 2)
    head, *body, total = map(line, cells)
    return "\n".join([title, rule, head, rule, *body, rule, total])


def _placed_on_input(module: nn.Module) -> bool:
    """Whether a convolution's kernel is placed once per pixel of its input, not of its output."""
    transposed = isinstance(module, nn.ConvTranspose) or getattr(module, "transposed", False)
    return transposed or getattr(module, "resampling", "none") == "halve"
