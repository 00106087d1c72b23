"""Several processes that work as one: how they start, agree, and end when one of them is gone."""
