"""How a model is used, for its card: in Python, on the command line, and its programs alone."""

from collections.abc import Collection, Mapping

from l1jax.config import Config, CustomModel, Sound
from l1jax.models import Generator

INSTALL = "`pip install 'l1jax[train]'`, or `'l1jax[hub]'` to load it from the Hub by its name:"


def generator_use(
    experiment: Config, generator: Generator, files: Collection[str], *, is_layout: bool
) -> list[str]:
    """Return the paragraphs that say how to draw from a generator.

    Args:
        experiment: that trained the model.
        generator: the model.
        files: names of its files.
        is_layout: whether the folder holds the layers themselves, so that a network of someone's
            own needs no package.
    """
    shape = ", ".join(map(str, generator.image_shape))
    drawn = f"images = model(jax.random.key(0), 64)  # uint8 [64, {shape}]"
    if generator.image_range is None:
        drawn = f"points = model(jax.random.key(0), 64)  # float32 [64, {shape}]"
    if isinstance(experiment.data, Sound):
        drawn = (
            "clips = model(jax.random.key(0), 64)  # float32 [64, samples], model.sample_rate "
            "a second"
        )
    if generator.classes:
        drawn += "; label=3 for one class"
    paragraphs = [
        INSTALL,
        _python(drawn),
        "`model.params` are its parameters, `model.network` its pure functions. On the command "
        "line:",
        _fenced("bash", "python -m l1jax.sample --model . --count 64 --seed 0 --output grid.png"),
        *_package(experiment, is_layout),
        f"**Latents** are float32 [batch, {generator.latent_size}], independent standard normal "
        f"numbers.{_labels(generator)} The network gives float32 [batch, {shape}], channels last"
        f"{_range(generator)}.",
    ]
    size = generator.latent_size
    inputs = {"latents": f"rng.standard_normal((64, {size}), numpy.float32)"}
    if generator.classes:
        inputs["label"] = f"numpy.arange(64, dtype=numpy.int32) % {generator.classes}"
    return paragraphs + _programs(files, inputs, "images")


def text_use(experiment: Config, files: Collection[str]) -> list[str]:
    """Return the paragraphs that say how to draw from a language model.

    Args:
        experiment: that trained the model.
        files: names of its files.
    """
    paragraphs = [
        INSTALL,
        _python('texts = model(jax.random.key(0), 8, prompt="", length=400)  # a list of strings'),
        "`model.params` are its parameters, `model.network` its pure functions. On the command "
        "line:",
        _fenced(
            "bash",
            'python -m l1jax.sample --model . --prompt "" --length 400 --output samples.txt',
        ),
        *_package(experiment, False),
        "**Tokens** are bytes, int32 [batch, length] from 0 to 255; 256 stands before, between and "
        "after documents. The network gives logits, float32 [batch, length, 257], of the token "
        "that follows each.",
    ]
    inputs = {"tokens": 'numpy.array([[256, *b"Once upon"]], numpy.int32)'}
    return paragraphs + _programs(files, inputs, "logits")


def _python(drawn: str) -> str:
    return _fenced(
        "python",
        "import jax\n\nimport l1jax\n\n"
        'model = l1jax.load(".")  # or "owner/name", revision="a commit"\n'
        f"{drawn}",
    )


def _fenced(language: str, code: str) -> str:
    return f"```{language}\n{code}\n```"


def _labels(generator: Generator) -> str:
    if not generator.classes:
        return ""
    return f" **Labels** are int32 [batch], from 0 to {generator.classes - 1}."


def _range(generator: Generator) -> str:
    if generator.image_range is None:
        return ""
    low, high = generator.image_range
    return f", from {low:g} (black) to {high:g} (white)"


def _package(experiment: Config, is_layout: bool) -> list[str]:
    """Say which package a network of someone's own needs."""
    model = experiment.model
    if not isinstance(model, CustomModel) or is_layout:
        return []
    package = model.factory.partition(":")[0].partition(".")[0]
    return [
        f"The network is `{model.factory}`: its package `{package}` must be installed, from a "
        "source that you trust, since loading the model runs it. The programs below, if there are "
        "any, do not need it."
    ]


def _programs(files: Collection[str], inputs: Mapping[str, str], output: str) -> list[str]:
    """Show how the programs in the folder run without l1jax.

    Args:
        files: names of the folder's files.
        inputs: name of each input of a program → code that makes one, with `numpy` and `rng`.
        output: name of the programs' result.
    """
    random = ["rng = numpy.random.default_rng(0)"] * any("rng" in code for code in inputs.values())
    made = "\n".join([*random, *(f"{name} = {code}" for name, code in inputs.items())])
    paragraphs = []
    if "model.stablehlo" in files:
        code = (
            f"from pathlib import Path\n\nimport jax\nimport jax.export\nimport numpy\n\n{made}\n"
            'content = bytearray(Path("model.stablehlo").read_bytes())\n'
            f"{output} = jax.export.deserialize(content).call({', '.join(inputs)})"
        )
        paragraphs += [
            "`model.stablehlo` runs with JAX and flatbuffers alone, on CPU, CUDA or TPU:",
            _fenced("python", code),
        ]
    if "model.onnx" in files:
        feed = ", ".join(f'"{name}": {name}' for name in inputs)
        code = (
            f"import numpy\nimport onnxruntime\n\n{made}\n"
            'session = onnxruntime.InferenceSession("model.onnx")\n'
            f"({output},) = session.run(None, {{{feed}}})"
        )
        paragraphs += ["`model.onnx` runs with onnxruntime alone:", _fenced("python", code)]
    return paragraphs
