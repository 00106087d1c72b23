"""Run the command `python -m l1jax.prepare` under its earlier name."""

import runpy

if __name__ == "__main__":
    runpy.run_module("l1jax.prepare", run_name="__main__")
