"""What to penalise: the value, prox, subgradient and distance to optimality of each penalty.

To add a penalty, write two declarations. In `l1jax.config.optimization` a dataclass says what an
experiment file, the command line and `config.json` call its numbers, and joins the union `Penalty`
there. In a module here a class has the four formulas for one array, and a factory checks the
numbers, documents the penalty and is `configured_by` that dataclass's name:

    @register
    @dataclass(frozen=True)
    class L2:
        strength: Number = field(metadata=STRENGTH)

        @tree_value
        def value(self, x): ...

    @configured_by("L2")
    def l2(strength): ...

Everything else follows from these: trees of parameters, schedules of the strength, sums with `l2`,
the name on the command line. `register` lists what a class may say beyond its formulas.
"""

from l1jax.penalties.base import (
    Penalty,
    check_penalty,
    convex_part,
    is_convex,
    leaf_penalties,
    penalty_groups,
    scaled,
    strengths,
)
from l1jax.penalties.by_path import ByPath, by_path
from l1jax.penalties.channels import input_channels, output_channels, scales
from l1jax.penalties.checks import check_number, is_concrete_number
from l1jax.penalties.concave import LogSum, Mcp, Scad, log_sum, mcp, scad
from l1jax.penalties.configuration import from_configuration
from l1jax.penalties.coupled import Coupled, coupled
from l1jax.penalties.coupled_groups import Slices
from l1jax.penalties.coupled_nonconvex import CoupledL0, CoupledMcp, coupled_l0, coupled_mcp
from l1jax.penalties.group import GroupL1, SparseGroupL1, group_l1, sparse_group_l1
from l1jax.penalties.group_l0 import GroupL0, group_l0
from l1jax.penalties.group_mcp import GroupMcp, group_mcp
from l1jax.penalties.groups import Groups, group_axes, kernel_blocks
from l1jax.penalties.l0 import L0, LHalf, l0, l_half
from l1jax.penalties.l1 import (
    L1,
    L2,
    ElasticNet,
    NonnegativeL1,
    WeightedL1,
    elastic_net,
    l1,
    l2,
    nonnegative_l1,
    soft_threshold,
    weighted_l1,
)
from l1jax.penalties.largest_strength import first_strength, largest_strength
from l1jax.penalties.linf import L1Ball, Linf, l1_ball, linf
from l1jax.penalties.nuclear import NuclearNorm, nuclear_norm
from l1jax.penalties.sparsity import Sparsity, path_name, select_leaves, sparsity
from l1jax.penalties.sum_of import SumOf, in_layout, sum_of
from l1jax.penalties.zero_groups import zero_groups

__all__ = [
    "L0",
    "L1",
    "L2",
    "ByPath",
    "Coupled",
    "CoupledL0",
    "CoupledMcp",
    "ElasticNet",
    "GroupL0",
    "GroupL1",
    "GroupMcp",
    "Groups",
    "L1Ball",
    "LHalf",
    "Linf",
    "LogSum",
    "Mcp",
    "NonnegativeL1",
    "NuclearNorm",
    "Penalty",
    "Scad",
    "Slices",
    "SparseGroupL1",
    "Sparsity",
    "SumOf",
    "WeightedL1",
    "by_path",
    "check_number",
    "check_penalty",
    "convex_part",
    "coupled",
    "coupled_l0",
    "coupled_mcp",
    "elastic_net",
    "first_strength",
    "from_configuration",
    "group_axes",
    "group_l0",
    "group_l1",
    "group_mcp",
    "in_layout",
    "input_channels",
    "is_concrete_number",
    "is_convex",
    "kernel_blocks",
    "l0",
    "l1",
    "l1_ball",
    "l2",
    "l_half",
    "largest_strength",
    "leaf_penalties",
    "linf",
    "log_sum",
    "mcp",
    "nonnegative_l1",
    "nuclear_norm",
    "output_channels",
    "path_name",
    "penalty_groups",
    "scad",
    "scaled",
    "scales",
    "select_leaves",
    "soft_threshold",
    "sparse_group_l1",
    "sparsity",
    "strengths",
    "sum_of",
    "weighted_l1",
    "zero_groups",
]
