"""Measuring generated images against real ones."""

from l1jax.evaluation.by_class import (
    AccuracyScore,
    FrechetByClass,
    classification_accuracy_score,
    frechet_by_class,
)
from l1jax.evaluation.coverage import ModeCoverage, class_coverage, mode_coverage
from l1jax.evaluation.diversity import PairSimilarity, multiscale_ssim, pair_similarity
from l1jax.evaluation.frechet import (
    FrechetInfinity,
    Gaussian,
    Moments,
    frechet_distance,
    frechet_infinity,
    gaussian,
    merge,
    merge_processes,
    moments,
)
from l1jax.evaluation.inception_score import InceptionScore, inception_score
from l1jax.evaluation.kernel import KernelDistance, clip_distance, kernel_distance
from l1jax.evaluation.manifold import (
    ManifoldScores,
    Neighbours,
    nearest_neighbours,
    precision_recall_density_coverage,
)
from l1jax.evaluation.memorisation import Memorisation, memorisation
from l1jax.evaluation.path_length import PathLength, path_length
from l1jax.evaluation.spectrum import radial_spectrum, spectrum_distance
from l1jax.evaluation.statistics_files import Statistics, load_statistics, save_statistics

__all__ = [
    "AccuracyScore",
    "FrechetByClass",
    "FrechetInfinity",
    "Gaussian",
    "InceptionScore",
    "KernelDistance",
    "ManifoldScores",
    "Memorisation",
    "ModeCoverage",
    "Moments",
    "Neighbours",
    "PairSimilarity",
    "PathLength",
    "Statistics",
    "class_coverage",
    "classification_accuracy_score",
    "clip_distance",
    "frechet_by_class",
    "frechet_distance",
    "frechet_infinity",
    "gaussian",
    "inception_score",
    "kernel_distance",
    "load_statistics",
    "memorisation",
    "merge",
    "merge_processes",
    "mode_coverage",
    "moments",
    "multiscale_ssim",
    "nearest_neighbours",
    "pair_similarity",
    "path_length",
    "precision_recall_density_coverage",
    "radial_spectrum",
    "save_statistics",
    "spectrum_distance",
]
