"""beartype as jaxtyping's import hook calls it: an int where a float is declared is fine, as for pyright."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
