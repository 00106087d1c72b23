"""Choices that flags of a command and the code behind it share."""

from typing import Literal

Values = Literal["float32", "float16", "bfloat16", "int8"]
"""What kernels of an exported model are rounded to."""
PathMode = Literal["together", "independent", "warm"]
"""How the runs of a path of strengths are trained."""
WarmOrder = Literal["dense-to-sparse", "sparse-to-dense"]
"""Which way a warm path goes."""
Criterion = Literal[
    "default",
    "bits_per_byte",
    "kernel_distance",
    "frechet_distance",
    "recall",
    "coverage",
    "log_likelihood",
    "aic",
    "aicc",
    "bic",
    "ebic",
]
"""What a strength is chosen by."""
ScoredFeatures = Literal["pixels", "random"]
"""What the distances between images are computed on that a strength is chosen by."""
