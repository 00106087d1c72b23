"""What the runs of a selection are scored by."""

from dataclasses import replace

import numpy as np
import pytest
from small_paths import PLAIN

from l1jax.config import FlowMatching, FlowMlp
from l1jax.data.opening import open_source
from l1jax.selection.choose import ChoiceRule
from l1jax.selection.fold_data import load_image_data
from l1jax.selection.folds import FoldIndices
from l1jax.selection.plan import Plan
from l1jax.training.task import make_task

FLOW = replace(PLAIN, model=FlowMlp((4,)), objective=FlowMatching(), discriminator=None)


@pytest.mark.parametrize(
    ("criterion", "computed"), [("kernel_distance", False), ("log_likelihood", True), ("bic", True)]
)
def test_the_likelihood_of_a_flow_is_computed_where_the_criterion_needs_it(criterion, computed):
    plan = Plan(
        experiment=FLOW,
        network="generator",
        strengths="0.1,1",
        rule=ChoiceRule(criterion, "minimum", 0, 0),
        precision=2.0,
        folds=1,
        steps=4,
        how="together",
        order="dense-to-sparse",
        halvings=0,
        dense=False,
        features="pixels",
    )
    source = open_source(FLOW.data)
    folds = FoldIndices([np.arange(20)], [np.arange(20)])
    folded = load_image_data(plan, source, None, folds).in_folds(make_task(FLOW, (8, 8, 1)))
    assert ("log-likelihood" in folded.scorer.protocol) == computed
