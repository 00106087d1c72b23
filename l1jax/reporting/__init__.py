"""Pictures, tables and pages that a person looks at."""

from l1jax.reporting.grid import image_grid, save_image
from l1jax.reporting.scatter import point_plot, sample_picture

__all__ = ["image_grid", "point_plot", "sample_picture", "save_image"]
