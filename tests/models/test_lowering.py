"""Programs that are traced on a CPU have, on a GPU or TPU, nothing that was meant for the CPU.

Nothing is compiled here: JAX lowers a training step for platforms that this machine lacks.
"""

import dataclasses
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.build import image_shape
from l1jax.cli.experiment_file import experiments_folder, load_experiment
from l1jax.config import R3gan, Text
from l1jax.data.batches import resident_feed
from l1jax.evaluation.inception_network import Inception
from l1jax.models.layers import convolve, convolve_transposed, library_convolutions
from l1jax.training.parallel import mapped_steps
from l1jax.training.task import make_task

loaded = cache(load_experiment)
NAMES = sorted(path.stem for path in experiments_folder().glob("*.py"))
# Of images, points and sound; text has another task, without convolutions.
EXPERIMENTS = [name for name in NAMES if not isinstance(loaded(name).data, Text)]
DENSE = (
    "dense_generator",
    "digits",
    "flow_digits",
    "flow_digits_fast",
    "flow_sparse",
    "gaussians",
    "gaussians_flow",
    "sparsify_digits",
    "vae_digits",
    "vae_mnist",
    "wgan_gp",
)
ON_CPU = ("cifar10", "digits", "faces")  # lowered for it too, where products replace convolutions
STEPS, BATCH = 2, 4
# Networks of every family, which differ in their operations.
FAMILIES = {
    ("celeba", "bfloat16"),
    ("dense_generator", "float32"),
    ("digits", "bfloat16"),
    ("faces", "float32"),
    ("gaussians", "float32"),
    ("vae_digits", "float32"),
}
FORMS = (
    "_convolution",
    "_image_gradient",
    "_kernel_gradient",
)  # what differs from platform to platform
HOST = "callback|infeed|outfeed"


def dtypes(name):
    model = loaded(name).model
    return ("float32", "bfloat16") if hasattr(model, "dtype") else ("float32",)


def cases():
    """Every experiment in bfloat16, whose case checks all that float32's does, or in float32.

    One of each family has both, and so have those that are lowered for a CPU too.
    """
    for name in EXPERIMENTS:
        for dtype in dtypes(name):
            needed = dtype == dtypes(name)[-1] or name in ON_CPU or (name, dtype) in FAMILIES
            if needed:
                yield pytest.param(name, dtype)


def traced(name, dtype):
    """Lower the program that trains this experiment, and return its state.

    It takes a few steps of small batches in one call.
    """
    experiment = loaded(name)
    model = experiment.model
    if dtype != "float32":
        model = dataclasses.replace(model, dtype=dtype)
    experiment = dataclasses.replace(experiment, model=model, batch_size=BATCH)
    shape = image_shape(experiment.data)
    task = make_task(experiment, shape)
    points = task.generator.image_range is None
    feed = resident_feed(
        np.zeros((8, *shape), np.float32 if points else np.uint8), 0, task.batches_per_step, BATCH
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(task.init, key)
    program = mapped_steps(task, feed.make_batch, jax.devices()[:1])
    return program.trace(state, feed.resident, feed.chunk(0, STEPS), key), state


def lowered(program, *platforms):
    return program.lower(lowering_platforms=platforms).as_text()


def functions(text):
    """Name → lines of each function of a module."""
    parts = re.split(r"(?m)^  func\.func ", text)[1:]
    return {re.search(r"@(\w+)", part)[1]: part for part in parts}


def operands(text, operation):
    """(element types, shapes) of both operands, for each occurrence of an operation."""
    found = re.findall(rf"stablehlo\.{operation}\W.* : \(tensor<(.*)>, tensor<(.*)>\) ->", text)
    parts = [[operand.rpartition("x")[::2] for operand in pair] for pair in found]
    return [(tuple(kind for _, kind in pair), tuple(shape for shape, _ in pair)) for pair in parts]


def in_forms(name):
    return re.sub(r"_\d+$", "", name) in FORMS


def may_be_float32(shapes, model):
    """Whether a product has one column, as logits have, or is of classes, which logits add.

    Vectors times a matrix compute singular values. Small matrices move and colour images in
    augmentations. The logits of a class-conditional R3GAN are inner products of its width.
    """
    classes = getattr(model, "classes", 0)
    small = {"1", str(classes)} if classes else {"1"}
    if any(shape.endswith(("x2x3", "x3x3", "x4x4")) for shape in shapes):
        return True
    if classes and isinstance(model, R3gan):
        width = model.channels
        if set(shapes) <= {f"{width}x{width}", f"{BATCH}x{width}"}:
            return True
    return any(small & set(shape.split("x")) or "x" not in shape for shape in shapes)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), list(cases()))
def test_a_training_step_is_lowered_for_accelerators_as_they_need_it(name, dtype):
    program, state = traced(name, dtype)
    for platform in ("cuda", "tpu"):
        text = lowered(program, platform)
        found = functions(text)
        forms = [name for name in found if in_forms(name)]
        assert bool(forms) == (name not in DENSE)
        for form in forms:
            assert found[form].count("stablehlo.convolution") == 1, form
            assert "dot_general" not in found[form], form
        assert text.count("stablehlo.convolution") == len(forms)
        assert "f64" not in text
        assert not [
            call for call in re.findall(r"custom_call @(\w+)", text) if re.search(HOST, call)
        ]
        donated = re.findall(r"tf\.aliasing_output|jax\.buffer_donor", found["main"])
        assert len(donated) == len(jax.tree.leaves(state))
        if dtype == "bfloat16":
            assert {types for types, _ in operands(text, "convolution")} <= {("bf16", "bf16")}
            single = [shapes for types, shapes in operands(text, "dot_general") if "f32" in types]
            assert all(may_be_float32(shapes, loaded(name).model) for shapes in single), single
    if name in ON_CPU and dtype == "float32":
        on_cpu = lowered(program, "cpu")
        for line in on_cpu.splitlines():
            if "stablehlo.convolution" in line:  # in the only form that CPUs run fast
                assert "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in line
                assert re.findall(r"(?:stride|dilate) = \[(.*?)\]", line) == ["1, 1"] * 3
                assert "feature_group_count = 1 " in line
        assert any(in_forms(name) for name in functions(on_cpu)) == bool(forms)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("order", [("cpu", "cuda"), ("cuda", "cpu")])
def test_what_is_traced_and_run_on_one_platform_is_lowered_for_another_in_its_own_form(
    transposed, order
):
    convolution = convolve_transposed if transposed else convolve
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((4, 4, 3, 5))

    @jax.jit
    def squared_gradient(x, kernel):
        """With second derivatives, as a gradient penalty has them."""

        def loss(x):
            return jnp.sum(convolution(x, kernel, 2) ** 2)

        return jax.grad(lambda kernel: jnp.sum(jax.grad(loss)(x) * kernel.sum()))(kernel)

    squared_gradient(x, kernel)
    program = squared_gradient.trace(x, kernel)
    for platform in order:
        text = lowered(program, platform)
        assert ("stablehlo.convolution" in text) == (platform == "cuda")
        assert ("stablehlo.dot_general" in text) == (platform == "cpu")


def test_an_accelerator_runs_as_many_convolutions_as_with_the_librarys_own_derivatives():
    """One for each layer, its image's and its kernel's gradient."""
    x, kernels = jnp.ones((2, 8, 8, 3)), [jnp.ones((4, 4, 3, 5)), jnp.ones((4, 4, 5, 7))]

    def loss(x, kernels):
        return jnp.sum(convolve_transposed(convolve(x, kernels[0], 2), kernels[1], 2) ** 2)

    def counted():
        gradients = jax.jit(partial(jax.grad(loss, (0, 1))))
        return lowered(gradients.trace(x, kernels), "cuda").count("stablehlo.convolution")

    own = counted()
    with library_convolutions():
        assert own == counted() == 6


@pytest.mark.slow
def test_inception_has_each_platforms_form():
    variables = jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, 299, 299, 3)))
    images = jax.ShapeDtypeStruct((2, 299, 299, 3), jnp.float32)
    program = jax.jit(Inception().apply).trace(variables, images)
    convolutions = sum(leaf.ndim == 4 for leaf in jax.tree.leaves(variables))
    assert lowered(program, "cuda").count("stablehlo.convolution") == convolutions
    assert 0 < lowered(program, "cpu").count("stablehlo.convolution") < convolutions
