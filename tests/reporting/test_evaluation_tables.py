"""An evaluation in the terminal: all features with what their scores are worth."""

import copy
import io

from rich.console import Console
from test_model_card import EVALUATION

from l1jax.reporting.evaluation_tables import (
    READINGS,
    features_title,
    show_evaluation,
    summary_lines,
)

ZEROS = {
    "kernels": 0.5, "dead_outputs": 0.0, "parameters": 10, "effective_parameters": 5, "flops": 0,
    "effective_flops": 0, "bytes": 40, "compressed_bytes": 22, "layers": [],
}  # fmt: skip


def shown(result, width):
    console = Console(width=width, record=True, file=io.StringIO())
    show_evaluation(result, console)
    return console.export_text()


def test_a_classifiers_scores_stand_under_its_accuracy_and_beside_those_of_random_convolutions():
    result = copy.deepcopy(EVALUATION) | {"zeros": ZEROS, "remarks": ["One thing more."]}
    features = result["features"]
    features["classifier"] |= {"accuracy": 0.9375, "held_out": 160, "chance": 0.1}
    for scores in features.values():
        scores["precision"] = {"mean": 0.125, "deviation": 0.01, "each": []}
    features["random"] = features["pixels"] | {"protocol": "random convolutions"}
    assert (
        features_title("classifier", features["classifier"])
        == "classifier, held-out accuracy 0.938"
    )
    assert features_title("random", features["random"]) == "random"
    for width, tables in ((50, 3), (70, 2), (160, 1)):
        words = shown(result, width).split()
        for word in ("pixels", "classifier", "random", "0.938", "precision", "inception", "7.25"):
            assert word in words, (word, width)
        assert words.count("Step") == tables  # beside each other only where nothing is cut
    assert summary_lines(result)[-1] == "One thing more."
    assert "held-out accuracy 0.9700" in "".join(summary_lines(result))


def test_four_kinds_of_features_stand_beside_each_other_in_100_columns():
    scores = {
        name: {"mean": 0.0123456, "deviation": 0.00123, "each": [0.0123]} for name in READINGS
    }
    view = {"protocol": "x", "real_against_real": dict.fromkeys(READINGS, 0.012345), **scores}
    features = dict.fromkeys(("pixels", "random", "inception"), view)
    features["classifier"] = view | {"accuracy": 0.9375, "classes": 10}
    text = shown(EVALUATION | {"zeros": ZEROS, "features": features}, 100)
    assert text.count("Step") == 1
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for reading in READINGS.values():
        assert reading in text
    assert "10 classes" in text
    old = copy.deepcopy(EVALUATION["features"])
    old["pixels"] |= {"between_real_halves": {"kernel_distance": 0.5}}
    del old["pixels"]["real_against_real"]
    assert "real 0.5" in shown(EVALUATION | {"zeros": ZEROS, "features": old}, 100)
