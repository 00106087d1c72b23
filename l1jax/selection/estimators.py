"""Linear models with scikit-learn's interface, for pipelines and grid searches.

Everything is solved by `l1jax.selection.fit_path` and `cross_validate`. This module needs
scikit-learn, which the extra `train` brings; `l1jax.selection` does not import it.
"""

from l1jax.selection.classifiers import L1Classifier, L1ClassifierCV
from l1jax.selection.regressors import L1Regressor, L1RegressorCV

__all__ = ["L1Classifier", "L1ClassifierCV", "L1Regressor", "L1RegressorCV"]
