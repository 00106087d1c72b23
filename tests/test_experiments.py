"""Every experiment that ships resolves and fits together.

Each has a docstring that tells what it is.
"""

import ast

import jax
import pytest

from l1jax.build import example_shape
from l1jax.cli.experiment_file import experiments_folder, load_experiment
from l1jax.config import check, from_json, to_json
from l1jax.training.keys import named_seed_key
from l1jax.training.task import make_task

FILES = sorted(experiments_folder().glob("*.py"))


def parameters(network):
    return sum(leaf.size for leaf in jax.tree.leaves(network.params))


def shapes(name):
    experiment = load_experiment(name)
    task = make_task(experiment, example_shape(experiment.data))
    return jax.eval_shape(task.init, named_seed_key(0, "parameters"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_experiment_resolves_and_its_networks_can_be_made(path):
    experiment = load_experiment(str(path))
    assert from_json(to_json(experiment)) == check(experiment) == experiment
    assert parameters(shapes(str(path)).generator) > 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_experiment_tells_how_to_run_it_and_what_was_measured(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert (
        f"python -m l1jax.train{'' if path.stem == 'digits' else f' --config {path.stem}'} " in text
    )
    assert "Measured:" in text
    assert "to be measured" not in text


def test_there_are_the_experiments_that_the_readme_lists():
    assert {path.stem for path in FILES} >= {
        "digits",
        "mlp_gan",
        "dense_generator",
        "celeba",
        "faces",
    }


def test_the_textbook_networks_have_their_sizes():
    """Weights and biases counted by hand from the layer widths."""
    dense = [(100, 128), (128, 128), (128, 784)]
    assert parameters(shapes("dense_generator").generator) == sum(i * o + o for i, o in dense)
    state = shapes("mlp_gan")
    dense = [(100, 1024), (1024, 1024), (1024, 64 * 64)]
    assert parameters(state.generator) == sum(i * o + o for i, o in dense)
    convolutions = [(1, 64), (64, 128), (128, 256), (256, 512)]
    expected = sum(25 * i * o + o for i, o in convolutions) + 4 * 4 * 512 + 1
    assert parameters(state.discriminator) == expected
