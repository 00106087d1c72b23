"""The whole experiment as data: frozen dataclasses, their checks and their JSON form.

Standard library only. An experiment file builds a `Config`; the command line changes its fields;
`check` refuses what cannot be run; `to_json` and `from_json` keep it in a work directory without
executing anything on the way back.
"""

from l1jax.config.codec import check, differences, from_json, kinds, switch_kind, to_json
from l1jax.config.data import (
    ArrayData,
    Data,
    DigitsData,
    IdxData,
    ImageData,
    MixtureData,
    StackedData,
    TfdsData,
)
from l1jax.config.experiment import FREE_FIELDS, Config
from l1jax.config.fields import InputError
from l1jax.config.models import Dcgan, DenseGenerator, MlpGan, Model, R3gan, SnResnet, Vae
from l1jax.config.objectives import (
    Ada,
    Adversarial,
    Balance,
    DiffAugment,
    Objective,
    Reconstruction,
    Variational,
)
from l1jax.config.optimization import (
    L0,
    L1,
    L2,
    ElasticNet,
    GroupL1,
    GroupMcp,
    L1Ball,
    LHalf,
    Linf,
    LogSum,
    Mcp,
    NonnegativeL1,
    Optimizer,
    Penalty,
    ReweightedL1,
    Scad,
    Schedule,
    SparseGroupL1,
)

__all__ = [
    "FREE_FIELDS",
    "L0",
    "L1",
    "L2",
    "Ada",
    "Adversarial",
    "ArrayData",
    "Balance",
    "Config",
    "Data",
    "Dcgan",
    "DenseGenerator",
    "DiffAugment",
    "DigitsData",
    "ElasticNet",
    "GroupL1",
    "GroupMcp",
    "IdxData",
    "ImageData",
    "InputError",
    "L1Ball",
    "LHalf",
    "Linf",
    "LogSum",
    "Mcp",
    "MixtureData",
    "MlpGan",
    "Model",
    "NonnegativeL1",
    "Objective",
    "Optimizer",
    "Penalty",
    "R3gan",
    "Reconstruction",
    "ReweightedL1",
    "Scad",
    "Schedule",
    "SnResnet",
    "SparseGroupL1",
    "StackedData",
    "TfdsData",
    "Vae",
    "Variational",
    "check",
    "differences",
    "from_json",
    "kinds",
    "switch_kind",
    "to_json",
]
