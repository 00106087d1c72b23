"""A grid of values of one number: what it changes, and which value is chosen."""

from dataclasses import replace

import numpy as np
import pytest
from small_paths import GAN, VAE

from l1jax.config import Adversarial, InputError, Ramp, SnResnet
from l1jax.selection.grid import GAMMA, Grid, choose_value, parse_grid, with_value

GRID = Grid(GAMMA, (0.01, 0.05, 0.2))


def test_a_grid_is_a_field_and_values():
    assert parse_grid([GAMMA, "0.01", "0.05", "2e-1"]) == GRID
    assert parse_grid([]) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([GAMMA], "at least two finite values"),
        ([GAMMA, "1"], "at least two finite values"),
        ([GAMMA, "1", "inf"], "at least two finite values"),
        ([GAMMA, "1", "many"], "must be a field and numbers"),
        ([GAMMA, "2", "1", "1"], r"must have values that increase: 1 2\."),
    ],
)
def test_other_grids_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        parse_grid(words)


def test_gamma_is_r1_and_keeps_its_ratio_to_r2_and_to_the_end_of_the_ramp():
    ramped = Adversarial(r1=0.05, r2=0.1, gamma_ramp=Ramp(10, 0.005))
    objective = with_value(replace(GAN, objective=ramped), GAMMA, 0.2).objective
    assert (objective.r1, objective.gamma_ramp.steps) == (0.2, 10)
    assert objective.r2 == pytest.approx(0.4)
    assert objective.gamma_ramp.end == pytest.approx(0.02)
    alone = with_value(replace(GAN, objective=Adversarial(r2=0.3)), GAMMA, 0.6).objective
    assert (alone.r1, alone.r2) == (0, 0.6)


def test_a_value_changes_its_field_alone():
    changed = with_value(GAN, "generator.learning_rate", 0.5)
    assert changed == replace(GAN, generator=replace(GAN.generator, learning_rate=0.5))
    critic = with_value(GAN, "objective.n_critic", 2).objective.n_critic
    assert (critic, type(critic)) == (2, int)
    assert with_value(GAN, "generator.penalty.strength", 0.5).generator.penalty.strength == 0.5
    assert with_value(GAN, "generator.eps", 1e-6).generator.eps == 1e-6
    residual = replace(GAN, model=SnResnet())
    dropped = with_value(residual, "model.generator_drop_path", 0.1).model
    assert dropped == SnResnet(generator_drop_path=0.1)


@pytest.mark.parametrize(
    ("experiment", "field", "value", "message"),
    [
        (GAN, "objective.gama", 1, r"must name a number that the experiment has: objective\.gamma"),
        (GAN, "objective.loss", 1, "must name a number"),
        (GAN, "model.latent_size", 3, "must name a number"),  # other parameters, other likelihoods
        (GAN, "seed", 1, "must name a number"),
        (GAN, "objective.n_critic", 1.5, "must be whole numbers"),
        (GAN, "objective.r1", -1, r"`objective.r1` \(=-1.0\) must be finite, at least 0"),
        (GAN, "model.generator_dropout", 1, r"`model.generator_dropout` \(=1.0\) must be .* below"),
        (VAE, GAMMA, 1, "needs a GAN with a gradient penalty"),
        (replace(GAN, objective=Adversarial()), GAMMA, 1, "needs a GAN with a gradient penalty"),
    ],
)
def test_a_value_that_the_experiment_cannot_have_is_refused(experiment, field, value, message):
    with pytest.raises(InputError, match=message):
        with_value(experiment, field, value)


def test_the_least_mean_score_is_chosen():
    choice = choose_value(np.array([[3.0, 3.2], [1.0, 1.4], [1.2, 1.5]]), GRID)
    assert (choice.index, choice.strength) == (1, 0.05)
    # The standard error of 1 and 1.4 is 0.2.
    assert choice.reason == "the least mean score, 1.2; within one standard error of it: 0.2"


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([1, 2, 3], "the smallest value of the grid, and a smaller one may be better"),
        ([3, 2, 1], "the largest value of the grid, and a larger one may be better"),
        ([np.nan, 2, np.inf], "the only score that is finite, 2"),
        ([np.nan, 2, 1], "the largest value of the grid"),
    ],
)
def test_the_reason_says_what_speaks_against_the_choice(scores, words):
    choice = choose_value(np.array(scores, float)[:, None], GRID)
    assert words in choice.reason
    assert ("grid" in choice.reason) == (choice.index != 1)


def test_nothing_is_said_to_be_smaller_than_0():
    choice = choose_value(np.array([[1.0], [2.0]]), Grid("objective.lecam", (0.0, 0.1)))
    assert (choice.strength, choice.reason) == (0, "the least mean score, 1")


def test_a_grid_that_diverged_is_refused():
    with pytest.raises(InputError, match="no value whose score is finite"):
        choose_value(np.full((3, 2), np.nan), GRID)
