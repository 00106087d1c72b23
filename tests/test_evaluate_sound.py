"""What the evaluation says of a generator of sound, from its spectrograms and its clips."""

import json

import pytest
from generators import write_sound_model

from l1jax import evaluate


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_classes_are_read_before_and_after_sound_and_its_speed_is_told(tmp_path, capsys):
    write_sound_model(tmp_path / "model")
    arguments = [f"--model={tmp_path / 'model'}", "--samples=48", "--seeds=1"]
    assert evaluate.main(arguments) == 0
    result = json.loads((tmp_path / "model" / "evaluation.json").read_text())
    assert result["modes"]["accuracy"] > 0.4  # 8 classes
    for name in ("conditional_accuracy", "conditional_accuracy_of_sound"):
        assert 0 <= result["modes"][name]["mean"] < 0.7  # untrained: about a third, or less
    assert set(result["features"]) == {"pixels", "classifier", "random"}
    sound = result["sound"]
    seconds = 12 * 40 / 4000
    assert sound["real_time_factor"] * sound["milliseconds_per_clip"] == pytest.approx(
        1e3 * seconds
    )
    assert (
        0 < sound["nearest_training_clip"]["of_real"] < sound["nearest_training_clip"]["of_drawn"]
    )
    said = capsys.readouterr().out
    assert "× real time" in said
    assert "nearest training clip:" in said
    assert "from their sound" in said
    assert evaluate.main([f"--again={tmp_path / 'model' / 'evaluation.json'}"]) == 0
    assert "to the last bit" in capsys.readouterr().out
