"""Pretends that packages are not installed."""

import sys
from collections.abc import Collection

from l1jax.extras import EXTRAS


class _Hiding:
    """A finder that finds what another does, but for some packages."""

    def __init__(self, finder, packages: Collection[str]):
        self.finder = finder
        self.packages = packages

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.packages:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


def without(packages: Collection[str], meta_path: list) -> list:
    """The finders of `sys.meta_path`, blind to packages; those of l1jax itself are as they were."""
    return [
        finder if getattr(finder, "__module__", "") == "l1jax.extras" else _Hiding(finder, packages)
        for finder in meta_path
    ]


def hide(monkeypatch, *packages: str) -> None:
    """Make packages uninstalled until the end of a test."""
    for name in list(sys.modules):
        if name.partition(".")[0] in packages:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", without(packages, sys.meta_path))


def hide_extras() -> None:
    """Make the packages of all extras uninstalled for the rest of this process."""
    sys.meta_path[:] = without(EXTRAS, sys.meta_path)
