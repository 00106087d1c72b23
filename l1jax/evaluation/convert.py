"""The former place of `python -m l1jax.convert`, kept so that old commands go on working."""

import runpy

if __name__ == "__main__":
    runpy.run_module("l1jax.convert", run_name="__main__")
