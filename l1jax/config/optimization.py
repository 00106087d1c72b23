"""Optimisers and penalties."""

from dataclasses import dataclass, field
from typing import Literal

from l1jax.config.fields import bounds


@dataclass(frozen=True)
class L1:
    """strength·‖w‖₁ on the penalised parameters."""

    strength: float = field(default=0.0, metadata=bounds(0))
    """λ, in units of the loss per unit of |w|; 0 for no penalty."""


@dataclass(frozen=True)
class Optimizer:
    """Adam and the penalty that it minimises along with the loss."""

    learning_rate: float = field(default=2e-4, metadata=bounds(0))
    """Adam's step size."""
    b1: float = field(default=0.5, metadata=bounds(0, 1, open_maximum=True))
    """Decay of the first moment."""
    b2: float = field(default=0.999, metadata=bounds(0, 1, open_maximum=True))
    """Decay of the second moment."""
    eps: float = field(default=1e-8, metadata=bounds(0))
    """Added to the root of the second moment."""
    penalty: L1 = L1()
    """The penalty."""
    penalised: str = field(default=r"(^|/)kernel$", metadata={"regex": True})
    """Regular expression, searched in parameter paths such as hidden_0/kernel: what is penalised."""
    method: Literal["metric", "plain", "subgradient"] = "metric"
    """metric: prox in Adam's own metric, the stated problem; plain: prox after Adam; subgradient: no exact zeros."""
