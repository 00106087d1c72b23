"""Say what path of an experiment is trained, and how its strength is chosen."""

import dataclasses
import math
import re
from typing import NamedTuple, NoReturn

from l1jax.config import Config, InputError
from l1jax.config.choices import PathMode, WarmOrder
from l1jax.selection.choose import ChoiceRule, check_allowed_loss
from l1jax.selection.grid import Grid
from l1jax.selection.strengths import parse_strengths
from l1jax.training.patience import check_patience
from l1jax.training.state import NO_WEIGHTS, Weights


class Plan(NamedTuple):
    """What path of an experiment is trained, and how its strength is chosen."""

    experiment: Config
    network: str  # the network whose strength is chosen
    strengths: str  # low:high:count, a list with commas, or auto:count
    rule: ChoiceRule
    precision: float  # ratio of neighbouring strengths around a target
    folds: int  # 1: scored by held-out images, or by an information criterion
    steps: int  # of each strength
    how: PathMode
    order: WarmOrder  # of a warm path
    halvings: int
    dense: bool  # whether strength 0 is trained too
    features: str
    grid: Grid | None = None  # of another number, which is then chosen instead of the strength
    weights: Weights = NO_WEIGHTS  # of the networks that every strength begins from

    @property
    def finds_strengths(self) -> bool:
        """Whether the strengths are found by training, rather than given."""
        return self.strengths.startswith("auto")


def check_plan(plan: Plan, default_criterion: bool) -> None:
    """Refuse numbers out of their ranges, and flags that do not go together.

    Args:
        plan: what the flags say.
        default_criterion: whether the criterion is the model's default and not the user's choice.

    Raises:
        InputError: naming the flag.
    """
    _check_numbers(plan)
    check_patience(dataclasses.replace(plan.experiment, steps=plan.steps or plan.experiment.steps))
    if plan.grid is not None:
        return
    optimizer = getattr(plan.experiment, plan.network)
    if optimizer is not None and optimizer.sparsity_target:
        _refuse(
            f"{plan.network}.sparsity-target",
            optimizer.sparsity_target,
            "0, because it moves the strength that is to be chosen",
        )
    scheduled = optimizer is not None and optimizer.learning_rate_schedule.shape != "constant"
    if plan.how == "warm" and scheduled:
        _refuse(
            "how",
            plan.how,
            "together or independent with a learning rate that falls, because on a warm path "
            "nothing of it would be left for later strengths",
        )
    has_dense = plan.dense
    if not plan.finds_strengths:
        has_dense |= parse_strengths(plan.strengths)[0] == 0
    elif not re.fullmatch(r"auto:([2-9]|\d{2,})", plan.strengths):
        raise InputError(
            f"`--strengths` (={plan.strengths}) must be auto:count, such as auto:8, "
            "low:high:count, or a list."
        )
    if plan.rule.allowed_loss:
        criterion = plan.rule.criterion
        if default_criterion:
            criterion += ", the default of this model"
        check_allowed_loss(
            plan.rule, criterion, has_dense=bool(has_dense), has_halvings=plan.halvings > 0
        )


def _check_numbers(plan: Plan) -> None:
    rule = plan.rule
    if plan.folds < 1:
        _refuse(
            "folds",
            plan.folds,
            "at least 1, because each fold in turn is held out from training on the others",
        )
    if not 0 <= rule.target_sparsity < 1:
        _refuse("zeros", rule.target_sparsity, "at least 0 and below 1: a share of the entries")
    if not 0 <= rule.allowed_loss < math.inf:
        _refuse("worse", rule.allowed_loss, "at least 0 and finite: 0.05 is 5 % worse")
    if rule.allowed_loss and rule.target_sparsity:
        _refuse("worse", rule.allowed_loss, "0 where --zeros is the target")
    if not 1 < plan.precision < math.inf:
        _refuse("precision", plan.precision, "greater than 1 and finite: a ratio of strengths")
    if plan.steps < 0:
        _refuse("path-steps", plan.steps, "at least 0; 0 stands for the experiment's own steps")
    if plan.halvings and plan.how != "together":
        _refuse("halvings", plan.halvings, "0 unless the strengths train with --how together")
    patience = plan.experiment.patience
    if patience and plan.how == "warm":
        _refuse(
            "patience", patience, "0 with --how warm, whose strengths share one course of steps"
        )
    if patience and plan.halvings:
        _refuse("patience", patience, "0 with --halvings, which stop strengths another way")
    if plan.halvings < 0:
        _refuse("halvings", plan.halvings, "at least 0")


def _refuse(flag: str, value: object, requirement: str) -> NoReturn:
    raise InputError(f"`--{flag}` (={value}) must be {requirement}.")
