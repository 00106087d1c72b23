"""What a person looks at."""

from l1jax.reporting.grid import image_grid, save_image

__all__ = ["image_grid", "save_image"]
