"""The circuit of a transformer: its weights that are not zero, as a list and as a picture.

The nodes are the channels of the residual stream, the entries of queries, keys and values, the
outputs of the heads, the feed-forward units and the tokens. An edge is an entry of a kernel.
"""

import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, PyTree

from l1jax.penalties.sparsity import path_name

MAX_DRAWN = 20_000  # edges of a picture
COLUMN_GAP = 150  # pixels between columns
ROW_GAP = 7  # pixels between the nodes of a column
MARGIN = 40
STRENGTHS = (0.2, 0.4, 0.7, 1.0)  # opacities, by the size of a weight within its layer
COLORS = {1: "#1f5fa8", -1: "#b8481c"}


class Edges(NamedTuple):
    """The weights of one kernel that are not zero.

    Attributes:
        layer: its path, without `/kernel`.
        inputs: index of the node that each edge comes from.
        outputs: index of the node that it leads to.
        weights: its weight.
        size: number of inputs and of outputs of the layer.
    """

    layer: str
    inputs: Int[np.ndarray, " edges"]
    outputs: Int[np.ndarray, " edges"]
    weights: Float[np.ndarray, " edges"]
    size: tuple[int, int]


def circuit_edges(params: PyTree) -> list[Edges]:
    """Return the edges of each kernel of a transformer, in the order of the network.

    The embedding, from which every token reads its row, has no zeros of its own and is left out.
    """
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = path_name(path)
        if name.endswith("/kernel"):
            kernel = np.asarray(leaf)
            inputs, outputs = np.nonzero(kernel)
            layer = name.removesuffix("/kernel")
            found[layer] = Edges(layer, inputs, outputs, kernel[inputs, outputs], kernel.shape)
    return [found[layer] for layer in sorted(found, key=_place)]


def circuit_lines(edges: Sequence[Edges]) -> Iterator[str]:
    """Give each edge as a line of JSON: its layer, input, output and weight."""
    for layer in edges:
        for source, target, weight in zip(
            layer.inputs.tolist(), layer.outputs.tolist(), layer.weights.tolist(), strict=True
        ):
            row = {"layer": layer.layer, "input": source, "output": target, "weight": weight}
            yield json.dumps(row) + "\n"


def num_edges(edges: Sequence[Edges]) -> int:
    """Return the number of edges of all layers."""
    return sum(len(layer.weights) for layer in edges)


def circuit_picture(edges: Sequence[Edges], head_size: int, queries_per_value: int = 1) -> str:
    """Draw a circuit as an SVG, from left to right.

    Each block has five columns: the residual stream, queries with keys and values below them, the
    outputs of the heads, the residual stream, and the feed-forward units. Dotted lines lead from
    the values to the heads that read them. A node without an edge is not drawn; a channel of the
    residual stream has the same height everywhere.

    Args:
        edges: of each kernel, as `circuit_edges` returns them.
        head_size: entries of an attention head.
        queries_per_value: heads of queries that share one of keys and values.

    Raises:
        ValueError: if there are more than `MAX_DRAWN` edges.
    """
    count = num_edges(edges)
    if count > MAX_DRAWN:
        raise ValueError(
            f"`edges` (={count:,} edges) must be at most {MAX_DRAWN:,} for a picture: make the "
            "network sparser or smaller."
        )
    named = {layer.layer: layer for layer in edges}
    picture = _Picture([], {}, [])
    blocks = [_place(name)[0] for name in named if name.startswith("block_")]
    num_blocks = max(blocks, default=-1) + 1
    for i in range(num_blocks):
        _draw_block(picture, named, i, head_size, queries_per_value)
    last = 5 * num_blocks
    _draw_edges(picture, named["logits"], (last, 0), (last + 1, 0))
    picture.labels.append((last, "residual stream"))
    picture.labels.append((last + 1, "tokens"))
    return _svg(picture)


class _Picture(NamedTuple):
    """What is drawn so far: paths, the heights of nodes in each column, names of columns."""

    paths: list[str]
    nodes: dict[int, set[int]]
    labels: list[tuple[int, str]]


def _place(layer: str) -> tuple[int, int]:
    """Return where a layer stands in the network."""
    order = ("query", "key", "value", "output", "gate", "up", "down")
    if not layer.startswith("block_"):
        return (1_000_000, 0)
    return (int(layer[6:].split("/")[0]), order.index(layer.split("/")[-1]))


def _draw_block(
    picture: _Picture, named: dict[str, Edges], index: int, head_size: int, queries_per_value: int
) -> None:
    """Draw what a block has; a compacted one may lack its attention, its units or both."""
    first = 5 * index
    rows = values = 0  # of the column of queries, keys and values; where the values begin
    for name in ("query", "key", "value"):
        layer = named.get(f"block_{index}/attention/{name}")
        if layer is not None:
            _draw_edges(picture, layer, (first, 0), (first + 1, rows))
            values = rows
            rows += layer.size[1]
    output = named.get(f"block_{index}/attention/output")
    if output is not None:
        _draw_edges(picture, output, (first + 2, 0), (first + 3, 0))
        _draw_values(picture, first, values, head_size, queries_per_value)
    columns = {"gate": first + 3, "up": first + 3, "down": first + 4}
    for name, column in columns.items():
        layer = named.get(f"block_{index}/feed_forward/{name}")
        if layer is not None:
            _draw_edges(picture, layer, (column, 0), (column + 1, 0))
    names = ("residual stream", "queries, keys, values", "heads", "residual stream", "units")
    picture.labels.extend((first + i, name) for i, name in enumerate(names))


def _draw_values(
    picture: _Picture, first: int, offset: int, head_size: int, queries_per_value: int
) -> None:
    """Draw dotted lines from the values to the entries of the heads that read them."""
    values = picture.nodes.get(first + 1, set())
    parts = []
    for entry in sorted(picture.nodes.get(first + 2, set())):
        head = entry // head_size // queries_per_value
        value = offset + head * head_size + entry % head_size
        if value in values:
            parts.append(_line((first + 1, value), (first + 2, entry)))
    if parts:
        picture.paths.append(
            f'<path d="{"".join(parts)}" stroke="#888" stroke-dasharray="2 4" opacity="0.5"/>'
        )


def _draw_edges(
    picture: _Picture, layer: Edges, start: tuple[int, int], end: tuple[int, int]
) -> None:
    """Draw the edges of a layer.

    Args:
        picture: what is drawn so far.
        layer: the edges.
        start: column of the inputs, and the height of the first of them.
        end: the same of the outputs.
    """
    if not len(layer.weights):
        return
    sizes = np.abs(layer.weights) / np.abs(layer.weights).max()
    ranks = np.minimum((sizes * len(STRENGTHS)).astype(int), len(STRENGTHS) - 1)
    sources = (start[1] + layer.inputs).tolist()
    targets = (end[1] + layer.outputs).tolist()
    for sign, color in COLORS.items():
        for rank, opacity in enumerate(STRENGTHS):
            chosen = np.flatnonzero((np.sign(layer.weights) == sign) & (ranks == rank))
            lines = [_line((start[0], sources[i]), (end[0], targets[i])) for i in chosen]
            if lines:
                picture.paths.append(
                    f'<path d="{"".join(lines)}" stroke="{color}" opacity="{opacity}">'
                    f"<title>{escape(layer.layer)}</title></path>"
                )
    picture.nodes.setdefault(start[0], set()).update(sources)
    picture.nodes.setdefault(end[0], set()).update(targets)


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    return f"M{_x(start[0])} {_y(start[1])}L{_x(end[0])} {_y(end[1])}"


def _x(column: int) -> int:
    return MARGIN + COLUMN_GAP * column


def _y(row: int) -> int:
    return 2 * MARGIN + ROW_GAP * row


def _svg(picture: _Picture) -> str:
    """Put the paths, nodes and labels together."""
    width = _x(max(column for column, _ in picture.labels)) + 2 * MARGIN
    rows = [row for column in picture.nodes.values() for row in column]
    height = _y(max(rows, default=0)) + MARGIN
    dots = [
        f'<circle cx="{_x(column)}" cy="{_y(row)}" r="2"/>'
        for column, column_rows in sorted(picture.nodes.items())
        for row in sorted(column_rows)
    ]
    labels = [
        f'<text x="{_x(column)}" y="{MARGIN}" text-anchor="middle">{escape(name)}</text>'
        for column, name in picture.labels
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            '<g fill="none" stroke-width="0.8">',
            *picture.paths,
            "</g>",
            '<g fill="#333">',
            *dots,
            *labels,
            "</g>",
            "</svg>\n",
        ]
    )
