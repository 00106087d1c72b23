"""What to penalise: value, proximal operator, subgradient and distance to optimality of each penalty."""

from l1jax.penalties.base import Penalty, check_penalty, convex_part, leaf_penalties, scaled
from l1jax.penalties.by_path import ByPath, by_path
from l1jax.penalties.concave import LogSum, Mcp, Scad, log_sum, mcp, scad
from l1jax.penalties.group import GroupL1, SparseGroupL1, group_l1, sparse_group_l1
from l1jax.penalties.group_mcp import GroupMcp, group_mcp
from l1jax.penalties.groups import (
    Groups,
    group_axes,
    input_channels,
    kernel_blocks,
    output_channels,
    scales,
)
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
from l1jax.penalties.max_norm import L1Ball, Linf, l1_ball, linf
from l1jax.penalties.numbers import check_number, known
from l1jax.penalties.sparsity import Sparsity, path_name, selected, sparsity
from l1jax.penalties.sum_of import SumOf, in_layout, sum_of
from l1jax.penalties.zero_groups import zero_groups

__all__ = [
    "L0",
    "L1",
    "L2",
    "ByPath",
    "ElasticNet",
    "GroupL1",
    "GroupMcp",
    "Groups",
    "L1Ball",
    "LHalf",
    "Linf",
    "LogSum",
    "Mcp",
    "NonnegativeL1",
    "Penalty",
    "Scad",
    "SparseGroupL1",
    "Sparsity",
    "SumOf",
    "WeightedL1",
    "by_path",
    "check_number",
    "check_penalty",
    "convex_part",
    "elastic_net",
    "first_strength",
    "group_axes",
    "group_l1",
    "group_mcp",
    "in_layout",
    "input_channels",
    "kernel_blocks",
    "known",
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
    "output_channels",
    "path_name",
    "scad",
    "scaled",
    "scales",
    "selected",
    "soft_threshold",
    "sparse_group_l1",
    "sparsity",
    "sum_of",
    "weighted_l1",
    "zero_groups",
]
