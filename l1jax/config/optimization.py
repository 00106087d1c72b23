"""Optimisers, penalties and schedules."""

from dataclasses import dataclass, field
from typing import Literal

from l1jax.config.fields import STRENGTH, bounds

LeafGroups = Literal["output_channels", "input_channels", "scales", "blocks"]
Groups = Literal["output_channels", "input_channels", "scales", "blocks", "channels"]
"""channels: all of a channel, unit or attention head that `penalised` selects, over all layers."""


@dataclass(frozen=True)
class L1:
    """strength·‖w‖₁ on the penalised parameters."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ, in units of the loss per unit of |w|; 0 for no penalty."""


@dataclass(frozen=True)
class L2:
    """½·strength·‖w‖², weight decay: no zeros but by underflow."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ, in units of the loss per squared unit of w."""


@dataclass(frozen=True)
class ElasticNet:
    """strength·‖w‖₁ + ½·l2_strength·‖w‖²."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ₁ of the L1 norm."""
    l2_strength: float = field(default=0.0, metadata=STRENGTH)
    """λ₂ of half the squared L2 norm."""


@dataclass(frozen=True)
class NonnegativeL1:
    """strength·Σw over w ≥ 0: the penalised parameters are never negative."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ; with 0 only the constraint is left."""


@dataclass(frozen=True)
class ReweightedL1:
    """L1 with the strength λ·ε/(|w| + ε) for each entry, renewed during training."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ, the strength where an entry was zero."""
    eps: float = field(default=0.1, metadata=bounds(0))
    """ε, in units of w: entries well above it are nearly free."""
    every: int = field(default=1_000, metadata=bounds(1))
    """Updates between two renewals."""


@dataclass(frozen=True)
class L0:
    """strength·(number of non-zeros)."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ, loss per entry that is not zero."""


@dataclass(frozen=True)
class LHalf:
    """strength·Σ√|w|."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ, in units of the loss per root of a unit of |w|."""


@dataclass(frozen=True)
class LogSum:
    """strength·Σ log(1 + |w|/eps), what reweighted L1 minimises."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ, in units of the loss."""
    eps: float = field(default=0.1, metadata=bounds(0))
    """ε, in units of w: entries well above it are hardly shrunk."""


@dataclass(frozen=True)
class Mcp:
    """The minimax concave penalty: L1 at zero, level from gamma·strength on."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ, the slope at zero."""
    gamma: float = field(default=3.0, metadata=bounds(0))
    """γ > 0: the penalty is level from |w| = γλ on."""


@dataclass(frozen=True)
class Scad:
    """The smoothly clipped absolute deviation: L1 up to λ, level from aλ on."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ, the slope at zero."""
    a: float = field(default=3.7, metadata=bounds(2))
    """Where the penalty is level, in units of λ; above 2."""


@dataclass(frozen=True)
class GroupL1:
    """strength·Σ √size·‖group‖: channels, scales or blocks are zero as a whole."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ; each group's strength is λ√size."""
    groups: Groups = "output_channels"
    """What a group is; scales are those of norms, channels go over all layers of a network."""
    block: tuple[int, ...] = field(default=(4, 4), metadata=bounds(-1))
    """With blocks: their lengths along the kernel's last axes; -1 is a whole axis."""


@dataclass(frozen=True)
class SparseGroupL1:
    """strength·‖w‖₁ + group_strength·Σ √size·‖group‖."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ₁ of the entries."""
    group_strength: float = field(default=0.0, metadata=STRENGTH)
    """λ₂ of the groups."""
    groups: LeafGroups = "output_channels"
    """What a group is; scales are those of norm layers, which `penalised` must select."""
    block: tuple[int, ...] = field(default=(4, 4), metadata=bounds(-1))
    """With blocks: their lengths along the kernel's last axes; -1 is a whole axis."""


@dataclass(frozen=True)
class GroupMcp:
    """MCP of each group's norm: whole groups zero, large ones not shrunk."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ; each group's strength is λ√size."""
    gamma: float = field(default=3.0, metadata=bounds(0))
    """γ > 0: the penalty is level from ‖group‖ = γλ√size on."""
    groups: Groups = "output_channels"
    """What a group is; scales are those of norms, channels go over all layers of a network."""
    block: tuple[int, ...] = field(default=(4, 4), metadata=bounds(-1))
    """With blocks: their lengths along the kernel's last axes; -1 is a whole axis."""


@dataclass(frozen=True)
class GroupL0:
    """strength·(number of entries in groups that are not zero): whole groups, not shrunk."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ, loss per entry of a group that is not zero."""
    groups: Groups = "output_channels"
    """What a group is; scales are those of norms, channels go over all layers of a network."""
    block: tuple[int, ...] = field(default=(4, 4), metadata=bounds(-1))
    """With blocks: their lengths along the kernel's last axes; -1 is a whole axis."""


@dataclass(frozen=True)
class Linf:
    """strength·max|w| of each parameter array."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ, in units of the loss per unit of |w|."""


@dataclass(frozen=True)
class NuclearNorm:
    """strength·Σ singular values of each kernel: matrices of low rank."""

    strength: float = field(default=0.0, metadata=STRENGTH)
    """λ, in units of the loss per unit of a singular value."""
    row_axes: int = field(default=1, metadata=bounds(1))
    """Axes before a kernel's last that are its rows: 1 for dense, 3 for Conv; others count."""


@dataclass(frozen=True)
class L1Ball:
    """The constraint ‖w‖₁ ≤ radius on each parameter array."""

    radius: float = field(default=1.0, metadata=bounds(0))
    """The radius, in units of w."""


Penalty = (
    L1
    | L2
    | ElasticNet
    | NonnegativeL1
    | ReweightedL1
    | L0
    | LHalf
    | LogSum
    | Mcp
    | Scad
    | GroupL1
    | SparseGroupL1
    | GroupMcp
    | GroupL0
    | Linf
    | NuclearNorm
    | L1Ball
)


@dataclass(frozen=True)
class Schedule:
    """A factor over training: from 0 up to 1 in the warm-up, level for `hold`, down to `end`."""

    shape: Literal["constant", "linear", "cosine"] = "constant"
    """The form after the warm-up; constant stays at 1."""
    warmup: int = field(default=0, metadata=bounds(0, 2**31 - 1))
    """Steps of the linear warm-up."""
    steps: int = field(default=0, metadata=bounds(0, 2**31 - 1))
    """Step from which the factor is `end`, counted from the start; not used by constant."""
    end: float = field(default=0.0, metadata=bounds(0))
    """Factor at the end of a linear or cosine schedule."""
    hold: int = field(default=0, metadata=bounds(0, 2**31 - 1))
    """Steps at 1 between the warm-up and the way down of a linear or cosine schedule."""


@dataclass(frozen=True)
class Ramp:
    """A number over training: from the field's own value at the start to `end`, then level."""

    steps: int = field(default=0, metadata=bounds(0, 2**31 - 1))
    """Step from which the number is `end`; 0 keeps the field's own value."""
    end: float = field(default=0.0, metadata=bounds(0))
    """The number at the end."""
    shape: Literal["cosine", "linear"] = "cosine"
    """The way there."""


@dataclass(frozen=True)
class Pruning:
    """How the methods magnitude, rigl and n_of_m choose zeros; penalties do not use it."""

    every: int = field(default=100, metadata=bounds(1))
    """Steps between two choices."""
    begin: int = field(default=0, metadata=bounds(0, 2**31 - 1))
    """Step of the first zeros of magnitude and n_of_m; rigl has all of its zeros at once."""
    steps: int = field(default=0, metadata=bounds(0, 2**31 - 1))
    """magnitude: steps from `begin` to the target; rigl: the step from which zeros stay."""
    drop_fraction: float = field(default=0.3, metadata=bounds(0, 1))
    """Share of the entries that rigl's first exchange replaces; it falls to 0 by a cosine."""
    densities: Literal["uniform", "erdos_renyi", "erdos_renyi_kernel"] = "uniform"
    """How rigl's zeros are spread: the same share in every array, or fewer in small ones."""
    n: int = field(default=2, metadata=bounds(1))
    """Entries that n_of_m keeps of `m` consecutive ones along the input axis."""
    m: int = field(default=4, metadata=bounds(2))
    """Length of a block of n_of_m."""


@dataclass(frozen=True)
class Optimizer:
    """An optimiser and the penalty that it minimises along with the loss."""

    learning_rate: float = field(default=2e-4, metadata=bounds(0))
    """The step size."""
    algorithm: Literal["adam", "sgd", "rmsprop", "adagrad", "rmda", "ramda"] = "adam"
    """rmda and ramda average gradients (dual averaging); the others follow each gradient."""
    b1: float = field(default=0.5, metadata=bounds(0, 1, open_maximum=True))
    """Decay of Adam's first moment."""
    b2: float = field(default=0.999, metadata=bounds(0, 1, open_maximum=True))
    """Decay of Adam's and RMSProp's second moment."""
    b2_ramp: Ramp = Ramp()
    """How `b2` changes over the steps, for adam and rmsprop; R3GAN's goes from 0.9 to 0.99."""
    eps: float | None = field(default=None, metadata=bounds(0))
    """Added to the second moment or its root; None is 1e-8, 1e-7 (Adagrad), 1e-2 (RAMDA)."""
    momentum: float | None = field(default=None, metadata=bounds(0, 1))
    """Momentum of sgd and rmsprop; weight of the new solution in rmda (0.1) and ramda (0.01)."""
    learning_rate_schedule: Schedule = Schedule()
    """Factor on the learning rate over the steps."""
    penalty: Penalty = L1()
    """The penalty."""
    penalised: str = field(default=r"(^|/)kernel$", metadata={"regex": True})
    """Regular expression that selects parameters by their paths, such as hidden_0/kernel."""
    method: Literal["metric", "plain", "subgradient", "magnitude", "rigl", "n_of_m"] = "metric"
    """metric: solve loss + penalty; plain: the usual prox; subgradient: no zeros; else prune."""
    pruning: Pruning = Pruning()
    """When and how the methods magnitude, rigl and n_of_m prune."""
    per_group: bool = False
    """Use one step size per group, with metric and a group penalty: cheaper, same solution."""
    strength_schedule: Schedule = Schedule()
    """Factor on the strength over the steps, or on `sparsity_target` if there is one."""
    sparsity_target: float = field(default=0.0, metadata=bounds(0, 1, open_maximum=True))
    """Share of zeros to reach, of groups if they are penalised; 0 leaves the strength."""
    sparsity_horizon: int = field(default=1_000, metadata=bounds(20))
    """Updates to reach that target in; at most a quarter of those before `debias_after`."""
    sparsity_scope: Literal["global", "group", "leaf"] = "global"
    """What has that share: the penalised parameters together, each block, or each array."""
    frozen_layers: int = field(default=0, metadata=bounds(0))
    """First layers that keep the weights that --from gives them; in a discriminator, FreezeD."""
    debias_after: int = field(default=0, metadata=bounds(0, 2**31 - 1))
    """Step from which zeros stay and the rest trains without penalty; 0 for never."""
