"""pandas where it is installed, else the little of its protocol that tests need."""

import numpy as np

try:
    from pandas import DataFrame, Series
except ImportError:

    class Series:
        def __init__(self, values, index=None, dtype=None):
            self.values = np.asarray(values)
            if self.values.dtype.kind == "U":
                self.values = self.values.astype(object)

        def __array__(self, dtype=None, copy=None):
            return np.array(self.values, dtype)

    class DataFrame:
        def __init__(self, data, columns=None, index=None):
            if isinstance(data, dict):
                columns = tuple(data)
                data = list(zip(*data.values(), strict=True))
            rows = [list(row) for row in data]
            plain = all(isinstance(value, int | float | np.number) for row in rows for value in row)
            self.values = np.array(rows, float if plain else object)
            self.columns = tuple(range(self.values.shape[1])) if columns is None else tuple(columns)

        def __array__(self, dtype=None, copy=None):
            return np.array(self.values, dtype)

        def __iter__(self):
            return iter(self.columns)


__all__ = ["DataFrame", "Series"]
