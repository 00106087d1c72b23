"""A card says what is known and nothing else, under a header that the Hub reads."""

import json
import re

import pytest
import yaml

from l1jax.config import L1, Config, GroupL1, ImageData, MixtureData, MlpGan, Optimizer, to_json
from l1jax.models import mlp_gan
from l1jax.reporting.model_card import model_card

ZEROS = {"parameters": 1000, "effective_parameters": 250, "kernels": 0.8, "dead_outputs": 0.125}
SCORES = {"mean": 0.5, "deviation": 0.01, "each": [0.5]}
EVALUATION = {
    "step": 7,
    "protocol": {
        "real": "500 of 1,797 training images",
        "generated": "500 of the averaged generator",
    },
    "features": {
        "pixels": {
            "protocol": "pixels in [-1, 1]",
            "real_against_real": {"kernel_distance": 0.001},
            "kernel_distance": {"mean": 0.0065, "deviation": 0.002, "each": []},
        },
        "classifier": {
            "protocol": "classifier of 10 classes",
            "real_against_real": {},
            "inception_score": {"mean": 7.25, "deviation": None, "each": []},
        },
    },
    "modes": {"of": 10, "accuracy": 0.97, "modes": SCORES | {"mean": 9.0}, "reverse_kl": SCORES},
    "images": {"ms_ssim_of_real": 0.18, "ms_ssim": SCORES},
}
EXPERIMENT = Config(
    data=ImageData("/home/someone/secret/photos`s.zip", image_size=8, channels=1),
    model=MlpGan(),
    generator=Optimizer(penalty=L1(3e-4)),
)
IMAGES = mlp_gan((8, 8, 1), 64).generator


def card(notes=None, experiment=EXPERIMENT, generator=IMAGES, lost=()):
    return model_card(
        experiment, generator, 1234, ZEROS, {"model.safetensors": 4321}, lost, notes or {}
    )


def header(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_header_is_yaml():
    assert header(card({"licence": "cc-by-4.0"})) == {
        "library_name": "l1jax",
        "license": "cc-by-4.0",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["jax", "sparse", "generative", "mlpgan"],
    }
    assert "license" not in header(card())


def test_points_and_classes_have_no_pipeline_of_unconditional_images():
    points = mlp_gan((1, 1, 2), 8, output="linear").generator
    text = card(
        experiment=Config(data=MixtureData(), model=MlpGan(output="linear")), generator=points
    )
    assert "pipeline_tag" not in header(text)
    assert "# MlpGan: points in the plane, 80.0% zeros" in text
    text = card(generator=mlp_gan((8, 8, 1), 64, classes=10).generator)
    assert "pipeline_tag" not in header(text)
    assert "# MlpGan: 10 classes of 8×8×1 images" in text


def test_numbers_stand_with_their_protocols():
    text = card({"evaluation": EVALUATION})
    assert "| kernel ↓ | 0.0065 ± 0.002 | 0.001 |  |  |" in text
    assert "| inception ↑ |  |  | 7.25 |  |" in text
    assert "- pixels: pixels in [-1, 1]" in text
    assert "Real: 500 of 1,797 training images. Generated: 500 of the averaged generator." in text
    assert "- modes reached: 9 ± 0.01 of 10" in text
    assert "Not measured: `python -m l1jax.evaluate --model .` does." in card()


def test_size_rounding_and_compaction_are_stated():
    before, after = (
        {"parameters": n, "bytes": 4 * n, "flops": 9 * n, "latency": 0.1} for n in (5000, 1000)
    )
    notes = {"compaction": {"error": 3e-7, "before": before, "after": after}}
    text = card(notes, lost=[("params/image/kernel", 0.0123, 0.00456)])
    assert "- 1,000 parameters, 250 of them not zero" in text
    assert "80.00% zeros, 12.50% of the output channels dead" in text
    assert "- `model.safetensors`: 4,321 bytes" in text
    assert "| `params/image/kernel` | 0.012 | 0.0046 |" in text
    assert "5,000 → 1,000 parameters, 20,000 → 4,000 bytes, 45,000 → 9,000 FLOPs per image" in text
    assert "3e-07 of the largest value" in text


def test_paths_stay_at_home_and_code_ends_where_it_should():
    text = card({"command": "python -m l1jax.export `rm`"})
    assert "secret" not in text
    assert "path photos's.zip" in text
    assert "exported by `python -m l1jax.export 'rm'`" in text


@pytest.mark.parametrize("penalty", [L1(0.0), L1(1e-3), GroupL1(2e-3)])
def test_the_penalty_is_named(penalty):
    text = card(experiment=Config(generator=Optimizer(penalty=penalty)))
    wanted = (
        "none;"
        if penalty.strength == 0
        else f"{type(penalty).__name__}, strength {penalty.strength}"
    )
    assert f"penalty of the generator: {wanted}" in text


def test_the_cards_own_code_gives_the_experiment_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"experiment": to_json(EXPERIMENT)}))
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", card(), re.DOTALL)
        if "get_config" in block
    ]
    names = {}
    exec(code, names)
    assert names["get_config"]() == EXPERIMENT


def test_the_card_shows_how_to_draw_in_python_and_by_each_program():
    generator = mlp_gan((8, 8, 1), 64, classes=10).generator
    sizes = {"model.safetensors": 1, "model.stablehlo": 2, "model.onnx": 3}
    text = model_card(EXPERIMENT, generator, 1, ZEROS, sizes, (), {})
    assert 'model = l1jax.load(".")' in text
    assert "uint8 [64, 8, 8, 1]; label=3 for one class" in text
    assert "float32 [batch, 64], independent standard normal numbers" in text
    assert "**Labels** are int32 [batch], from 0 to 9" in text
    assert "from -1 (black) to 1 (white)" in text
    assert "jax.export.deserialize(content).call(latents, label)" in text
    assert '(images,) = session.run(None, {"latents": latents, "label": label})' in text
    plain = card()
    assert "onnx" not in plain
    assert "deserialize" not in plain
