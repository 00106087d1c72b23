"""What a run looks at between chunks of steps: samples, health and scores of its generator."""

from collections.abc import Callable
from typing import NamedTuple

from l1jax.training.log import Log
from l1jax.training.state import Average, Metrics, State

ShowSamples = Callable[[int, State, Log], None]
Evaluate = Callable[[Average], dict[str, float]]


class Observer(NamedTuple):
    """How the callbacks see a family of models; `image_observer` and `text_observer` make it.

    Attributes:
        show_samples: (step, state, log) → None. Logs samples of the averaged generator.
        health: state → metrics of the generator, every `sample_every` steps.
        score_name: name of the metric that `score` returns.
        score: average → a number at each checkpoint; lower is better, infinite if unknown.
        evaluation_name: which metric of `evaluate` chooses the best checkpoint.
        evaluate: average → metrics, every `evaluate_every` steps; none if nothing can be evaluated.
        rate_name: name of the metric of speed.
        rate_per_example: how much of it an example is, such as the tokens of a window.
        bound: state → the bound of held-out images at each checkpoint; None if it is not wanted.
    """

    show_samples: ShowSamples
    health: Callable[[State], Metrics]
    score_name: str
    score: Callable[[Average], float]
    evaluation_name: str
    evaluate: Evaluate
    rate_name: str
    rate_per_example: int
    bound: Callable[[State], float] | None = None


def no_evaluation(average: Average) -> dict[str, float]:
    """Return no metrics: the `evaluate` of a run without evaluations."""
    return {}
