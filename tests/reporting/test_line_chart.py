"""Line charts as SVG."""

import re

import pytest
from html_checks import Page

from l1jax.reporting.line_chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MAX_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    format_number,
    line_chart,
)


def positions(chart, index=0):
    """The points of a line, in units of the drawing."""
    paths = [path["d"] for path in Page(chart).all("path") if path["class"].startswith("line")]
    line = [path for path in paths if path != "M0 4H24"][index]
    return [tuple(map(float, point.split())) for point in line[1:].split("L")]


def test_a_line_spans_the_chart_and_is_linear_in_step_and_value():
    points = positions(line_chart("loss", {"generator": [(0, -1.0), (50, 0.0), (100, 1.0)]}))
    middle = ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2)
    assert points == [(LEFT, HEIGHT - BOTTOM), middle, (WIDTH - RIGHT, TOP)]


def test_constants_single_points_and_large_and_small_values_are_drawn():
    for value in (0.0, 3.0, -1e-12, 1e12, 1e-30):
        ((_, first), (_, second)) = positions(line_chart("x", {"x": [(1, value), (2, value)]}))
        assert TOP < first == second < HEIGHT - BOTTOM
    page = Page(line_chart("x", {"x": [(7, 2.0)]}))
    assert len(page.all("circle")) == 1


def test_the_axis_has_round_numbers():
    page = Page(line_chart("x", {"x": [(0, 0.0), (1_000, 0.37)]}))
    assert {"0", "0.1", "0.2", "0.3", "500", "1,000"} <= set(page.text.split())


def test_a_long_line_is_thinned_out_and_keeps_its_end():
    points = positions(line_chart("x", {"x": [(i, float(i)) for i in range(10_001)]}))
    assert len(points) <= MAX_POINTS
    assert points[-1] == (WIDTH - RIGHT, TOP)


def test_nothing_is_drawn_of_nothing():
    assert line_chart("x", {"a": []}) == ""
    assert "b" not in Page(line_chart("x", {"b": [], "a": [(1, 1.0)]})).text.split()


def test_a_screen_reader_reads_where_lines_begin_and_end():
    (label,) = [
        svg["aria-label"]
        for svg in Page(line_chart("Loss", {"G": [(1, 3.0), (2, 5.0), (3, 4.0)]})).all("svg")
        if "aria-label" in svg
    ]
    assert label == "Loss against the training step. G: from 3 to 4, between 3 and 5"


def test_lines_differ_by_more_than_their_colour_when_colours_run_out():
    chart = line_chart("x", {str(i): [(1, 1.0), (2, float(i))] for i in range(9)})
    classes = re.findall(r'class="line (c\d d\d)" d="M\d+\.\d', chart)
    assert len(set(classes)) == 9


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234.5, "1,234"), (0.000123456, "0.0001235"), (1.5, "1.5")]
)
def test_numbers_are_short(value, text):
    assert format_number(value) == text
