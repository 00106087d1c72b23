"""The table of the classes of generated images, in the terminal and on the page."""

import copy

from test_evaluation_tables import ZEROS, shown
from test_model_card import EVALUATION

from l1jax.reporting.class_tables import class_rows, describe_missing
from l1jax.reporting.evaluation_section import evaluation_section

CLASSES = [
    {
        "label": 0, "name": "cat", "real": 0.25, "generated": [0.5, 0.25],
        "asked": 8, "read_as": [6, 0, 2], "right": 0.75,
    },
    {
        "label": 1, "name": "1", "real": 0.75, "generated": [0.125, 0.125],
        "asked": 4, "read_as": [0, 4, 0], "right": 1.0,
    },
    {
        "label": 2, "name": "[red]", "real": 0.0, "generated": [0.0, 0.0],
        "asked": 0, "read_as": [0, 0, 0], "right": None,
    },
]  # fmt: skip


def with_classes(classes, missing=()):
    result = copy.deepcopy(EVALUATION) | {"zeros": ZEROS}
    result["protocol"] |= {"latents": "standard normal", "device": "1 × cpu", "versions": {}}
    result["modes"] |= {"classes": classes, "missing": list(missing)}
    return result


def test_each_class_has_its_shares_and_what_it_is_taken_for():
    assert class_rows(CLASSES) == [
        ["0 cat", "25.0%", "37.5%", "75.0%", "2 [red], 25.0%"],
        ["1", "75.0%", "12.5%", "100.0%", ""],
        ["2 [red]", "0.0%", "0.0%", "none asked for", ""],
    ]
    plain = [{key: own[key] for key in ("label", "name", "real", "generated")} for own in CLASSES]
    assert class_rows(plain)[0] == ["0 cat", "25.0%", "37.5%"]


def test_missing_classes_are_named_up_to_ten():
    assert describe_missing([]) == []
    assert describe_missing(["dog"]) == [
        "missing class, which no generated image of any seed is read as: dog"
    ]
    (sentence,) = describe_missing([str(i) for i in range(12)])
    assert sentence.endswith("8, 9 and 2 more")


def test_terminal_and_page_show_the_classes():
    result = with_classes(CLASSES, ["dog"])
    said = shown(result, 100)
    page = evaluation_section(result)
    for text in (said, page):
        for word in ("2 [red]", "37.5%", "read as asked", "missing class, which"):
            assert word in text
    many = [CLASSES[1] | {"label": i, "name": str(i)} for i in range(23)]
    assert "3 more classes are in evaluation.json and the report" in shown(with_classes(many), 100)


def test_warnings_of_images_stand_out_and_what_is_said_of_text_does_not():
    result = with_classes(CLASSES) | {"remarks": ["look at samples"]}
    of_images = evaluation_section(result)
    assert '<ul class="warn"><li>look at samples</li></ul>' in of_images
    assert of_images.count("look at samples") == 1
    del result["features"]
    of_text = evaluation_section(result)
    assert "<li>look at samples</li>" in of_text
    assert "warn" not in of_text


def test_an_evaluation_of_before_has_no_such_table():
    result = with_classes([])
    del result["modes"]["classes"], result["modes"]["missing"]
    assert "5 of 10 parameters" in evaluation_section(result)  # which is thus readable
    assert "read as asked" not in shown(result, 100) + evaluation_section(result)
