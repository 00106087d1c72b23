"""Run the command `l1jax` as `python -m l1jax`."""

from l1jax.cli.main import main

if __name__ == "__main__":
    main()
