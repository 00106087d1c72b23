"""Circuits against the weights that they are made of."""

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from l1jax.reporting.circuit import (
    MAX_DRAWN,
    circuit_edges,
    circuit_lines,
    circuit_picture,
    num_edges,
)

WIDTH = 4
HIDDEN = 6


def sparse_params():
    """A block whose kernels have two weights each; the embedding and the norm do not count."""

    def layer(inputs, outputs):
        kernel = np.zeros((inputs, outputs), np.float32)
        kernel[0, 1] = 0.5
        kernel[inputs - 1, 0] = -2.0
        return {"kernel": kernel}

    block = {
        "attention": {
            "query": layer(WIDTH, WIDTH),
            "key": layer(WIDTH, 2),
            "value": layer(WIDTH, 2),
            "output": layer(WIDTH, WIDTH),
        },
        "attention_norm": {"scale": np.ones(WIDTH)},
        "feed_forward": {"up": layer(WIDTH, HIDDEN), "down": layer(HIDDEN, WIDTH)},
    }
    embedding = {"embedding": np.ones((9, WIDTH))}
    return {"logits": layer(WIDTH, 9), "embedding": embedding, "block_0": block}


def test_edges_are_the_weights_that_are_not_zero_in_the_order_of_the_network():
    edges = circuit_edges(sparse_params())
    assert [layer.layer.split("/")[-1] for layer in edges] == [
        *("query", "key", "value", "output", "up", "down", "logits")
    ]
    assert num_edges(edges) == 14
    rows = [json.loads(line) for line in circuit_lines(edges)]
    assert rows[:2] == [
        {"layer": "block_0/attention/query", "input": 0, "output": 1, "weight": 0.5},
        {"layer": "block_0/attention/query", "input": 3, "output": 0, "weight": -2.0},
    ]


def test_a_picture_has_a_line_for_each_edge_and_a_dot_for_each_node():
    # Two heads of two entries share one head of values. The output kernel reads the entries 0 and
    # 3, which are the values 0 and 1, and both are computed: so there are two dotted lines.
    picture = circuit_picture(circuit_edges(sparse_params()), head_size=2, queries_per_value=2)
    root = ElementTree.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    paths = root.findall(f".//{space}path")
    assert sum(len(re.findall("M", path.get("d"))) for path in paths) == 14 + 2
    dots = {(dot.get("cx"), dot.get("cy")) for dot in root.iter(f"{space}circle")}
    ends = set()
    for path in paths:
        ends |= set(re.findall(r"[ML](\d+) (\d+)", path.get("d")))
    assert dots == ends


def test_too_many_edges_are_not_drawn():
    params = sparse_params()
    params["logits"]["kernel"] = np.ones((MAX_DRAWN, 1))
    with pytest.raises(ValueError, match=r"`edges` \(=20,012 edges\) must be at most 20,000"):
        circuit_picture(circuit_edges(params), head_size=2)


@pytest.mark.parametrize("lost", ["attention", "feed_forward"])
def test_a_block_that_lacks_a_part_is_drawn_without_it(lost):
    params = sparse_params()
    del params["block_0"][lost]
    edges = circuit_edges(params)
    picture = circuit_picture(edges, head_size=2, queries_per_value=2)
    lines = len(re.findall("M", "".join(re.findall(r'<path d="([^"]*)"', picture))))
    dotted = 2 if lost == "feed_forward" else 0
    assert lines == num_edges(edges) + dotted
