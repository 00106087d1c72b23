"""StableHLO and ONNX draw what Flax draws, for any batch size."""

import importlib
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absent import hide
from generators import CONDITIONAL, FAMILIES, generator, images_of, inputs

from l1jax.config import InputError
from l1jax.extras import MissingExtraError
from l1jax.models import flow_mlp, unet
from l1jax.models.layout.layout_network import TrainedGenerator
from l1jax.serialization.onnx_program import export_onnx, open_onnx
from l1jax.serialization.stablehlo_program import export_stablehlo, open_stablehlo

DOCS = Path(__file__).parents[2] / "docs" / "export.md"
FORMATS = {"stablehlo": (export_stablehlo, open_stablehlo), "onnx": (export_onnx, open_onnx)}


CASES = [
    pytest.param("onnx", name, 3, marks=pytest.mark.slow if name == "sn_resnet" else ())
    for name in CONDITIONAL
]
CASES += [
    pytest.param("onnx", name, 0, marks=pytest.mark.slow if name in CONDITIONAL else ())
    for name in FAMILIES
]
CASES += [
    pytest.param(
        "stablehlo", *case, marks=pytest.mark.slow if case[0] in ("r3gan", "sn_resnet") else ()
    )
    for case in [("points", 0), ("dcgan", 3), ("sn_resnet", 3), ("r3gan", 0), ("vae", 3)]
]


@pytest.mark.parametrize(("format", "name", "classes"), CASES)
def test_a_program_draws_the_same_images(format, name, classes):
    compact = generator(name, classes)
    export, read = FORMATS[format]
    again = read(compact.generator, export(*compact[:3]), Path("file"))
    assert again.network.init(jax.random.key(0)) == ({}, {})
    latents, label = (*inputs(compact), None)[:2]
    wanted = images_of(compact, latents, label)
    assert np.std(wanted) > 1e-3
    found, _ = jax.jit(lambda z, y: again.network.apply({}, {}, z, False, y))(latents, label)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_a_program_takes_any_batch(format):
    compact = generator("dcgan", 3)
    export, read = FORMATS[format]
    again = read(compact.generator, export(*compact[:3]), Path("file"))
    for count in (1, 2, 7):
        latents, label = inputs(compact, count)
        found, _ = again.network.apply({}, {}, latents, False, label)
        np.testing.assert_allclose(found, images_of(compact, latents, label), atol=1e-4)


FLOWS = {
    "dense": lambda: flow_mlp((4, 4, 1), (5,), 4, method="heun", sampling_steps=3),
    "average": lambda: flow_mlp(
        (4, 4, 1), (5,), 4, average_velocity=True, method="average", sampling_steps=2
    ),
    "unet": lambda: unet(
        (8, 8, 1),
        8,
        (1, 2),
        1,
        head_size=8,
        average_velocity=True,
        method="average",
        sampling_steps=2,
    ),
}


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("stablehlo", "dense"),
        ("onnx", "dense"),
        ("onnx", "average"),
        pytest.param("onnx", "unet", marks=pytest.mark.slow),
    ],
)
def test_a_flow_is_exported_with_all_its_steps(format, name):
    flow = FLOWS[name]().generator
    params, statistics = drawn(flow.network)
    trained = TrainedGenerator(flow, params, statistics, {})
    export, read = FORMATS[format]
    again = read(flow, export(flow, params, statistics), Path("file"))
    (latents,) = inputs(trained, 3)
    found, _ = again.network.apply({}, {}, latents, False, None)
    np.testing.assert_allclose(found, images_of(trained, latents), atol=1e-4)


def drawn(network):
    random = np.random.default_rng(0)

    def draw(leaf):
        return jnp.asarray(random.normal(size=leaf.shape) / np.sqrt(leaf.shape[0]), leaf.dtype)

    return jax.tree.map(draw, jax.eval_shape(network.init, jax.random.key(0)))


def test_other_classes_are_other_images():
    compact = generator("dcgan", 3)
    latents = inputs(compact)[0]
    for export, read in FORMATS.values():
        again = read(compact.generator, export(*compact[:3]), Path("file"))
        first, second = (
            again.network.apply({}, {}, latents, False, jnp.full(5, y))[0] for y in (0, 1)
        )
        assert np.abs(first - second).max() > 1e-3


def loader(heading):
    """The five lines that docs/export.md gives under a heading."""
    return (
        DOCS.read_text(encoding="utf-8").split(heading)[1].split("```python\n")[1].split("```")[0]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "heading"), [("stablehlo", "## StableHLO"), ("onnx", "## ONNX")]
)
def test_the_documented_loader_needs_no_l1jax(tmp_path, format, heading):
    lines = loader(heading)
    assert len(lines.strip().splitlines()) <= 5
    compact = generator("dcgan", 3)
    (tmp_path / f"model.{format}").write_bytes(FORMATS[format][0](*compact[:3]))
    given = inputs(compact, 4)
    np.savez(tmp_path / "inputs.npz", latents=given[0], label=given[1])
    finder = (
        "class No:\n"
        "    def find_spec(self, name, *_):\n"
        "        assert name.split('.')[0] not in {}\n"
    )
    missing = {"l1jax", "flax", "optax", "orbax"} | ({"jax"} if format == "onnx" else set())
    code = "\n".join(
        [
            "import sys",
            finder.format(missing),
            "sys.meta_path.insert(0, No())",
            "import numpy as np",
            "latents, label = np.load('inputs.npz').values()",
            lines,
            "np.save('images.npy', np.asarray(images))",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(
        np.load(tmp_path / "images.npy"), images_of(compact, *given), atol=1e-4
    )


def test_a_program_runs_on_every_platform_in_its_own_form():
    exported = jax.export.deserialize(bytearray(export_stablehlo(*generator("dcgan")[:3])))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    text = exported.mlir_module()
    assert "stablehlo.case" in text  # which chooses by platform
    assert "stablehlo.convolution" in text
    assert not isinstance(exported.in_avals[0].shape[0], int)


@pytest.mark.slow
def test_the_graph_is_one_that_others_read():
    onnx = importlib.import_module("onnx")
    for name, kind in (
        ("dcgan", "ConvTranspose"),
        ("conv_vae", "ConvTranspose"),
        ("r3gan", "Conv"),
    ):
        model = onnx.load_from_string(export_onnx(*generator(name)[:3]))
        onnx.checker.check_model(model, full_check=True)
        assert kind in {node.op_type for node in model.graph.node}
        assert [i.name for i in model.graph.input] == ["latents"]
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
        assert not {node.domain for node in model.graph.node} - {""}


def test_initialisers_have_the_names_of_the_parameters():
    onnx = importlib.import_module("onnx")
    compact = generator("mlp")
    graph = onnx.load_from_string(export_onnx(*compact[:3])).graph
    assert [node.op_type for node in graph.node] == [
        *("Gemm", "LeakyRelu", "Gemm", "LeakyRelu", "Gemm"),
        *("Tanh", "Reshape"),
    ]
    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for layer, params in compact.params.items():
        for name, wanted in params.items():
            np.testing.assert_array_equal(found.pop(f"params/{layer}/{name}"), wanted)
    assert [value.dtype.kind for value in found.values()] == ["i"]  # the image's shape


def test_a_constant_of_several_parameters_has_the_names_of_all():
    onnx = importlib.import_module("onnx")
    graph = onnx.load_from_string(export_onnx(*generator("dcgan")[:3])).graph
    names = {tensor.name for tensor in graph.initializer}
    assert {
        "params/project/kernel",
        "statistics/norm_0/mean",
        "norm_0/scale_var",
        "params/norm_0/bias",
        "params/image/kernel",
    } <= names


def test_every_shape_in_the_graph_is_inferred():
    onnx = importlib.import_module("onnx")
    model = onnx.load_from_string(export_onnx(*generator("dcgan", 3)[:3]))
    inferred = onnx.shape_inference.infer_shapes(
        model, check_type=True, strict_mode=True, data_prop=True
    )
    known = {value.name for value in (*inferred.graph.value_info, *inferred.graph.output)}
    assert known == {name for node in model.graph.node for name in node.output}


def test_what_onnx_has_no_form_of_is_refused_with_its_layer():
    def apply(params, statistics, latents, train, label=None):
        with jax.named_scope("sorter"):
            return jnp.sort(latents).reshape(-1, 1, 1, 6), statistics

    made = generator("mlp").generator
    odd = made._replace(network=made.network._replace(apply=apply))
    with pytest.raises(
        InputError, match=r"`--onnx` knows no form of JAX's sort .* in the layer .*sorter"
    ):
        export_onnx(odd, {}, {})


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_no_program_is_refused(format):
    compact = generator("mlp")
    export, read = FORMATS[format]
    content = export(*compact[:3])
    for broken in (b"", b"no program", content[: len(content) // 2]):
        with pytest.raises(InputError, match=r"`file` is no \w+ \w+ that this \w+ reads"):
            read(compact.generator, broken, Path("file"))
    with pytest.raises(
        InputError, match=r"`file` takes and gives .*6.*, and its config.json's generator .*"
    ):
        read(generator("points").generator, content, Path("file"))
    with pytest.raises(InputError, match="`file` takes and gives"):
        read(generator("mlp", 3).generator, content, Path("file"))


def test_a_missing_package_is_told(monkeypatch):
    hide(monkeypatch, "onnx")
    with pytest.raises(MissingExtraError, match=r"needs the package onnx, .* 'l1jax\[onnx\]'"):
        export_onnx(*generator("mlp")[:3])
