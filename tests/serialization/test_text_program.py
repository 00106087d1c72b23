"""Programs compute the logits of the model, of any number of tokens."""

from pathlib import Path

import jax
import numpy as np
import pytest

from l1jax.config import InputError
from l1jax.models import transformer
from l1jax.serialization.onnx_program import ONNX
from l1jax.serialization.stablehlo_program import STABLEHLO
from l1jax.serialization.text_program import (
    OPENERS,
    export_text_onnx,
    export_text_stablehlo,
    probe_logits,
    probe_tokens,
)

EXPORTERS = {STABLEHLO: export_text_stablehlo, ONNX: export_text_onnx}
TOKENS = np.random.default_rng(0).integers(0, 11, (3, 9))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key_value_heads", "activation", "name"),
    [(4, "swiglu", STABLEHLO), (4, "swiglu", ONNX), (2, "gelu", ONNX)],
)
def test_a_program_computes_the_logits_within_the_context_and_beyond(
    key_value_heads, activation, name
):
    model = transformer(
        *(11, 16, 2, 4), key_value_heads=key_value_heads, activation=activation, context=6
    )
    params, _ = jax.jit(model.network.init)(jax.random.key(0))
    apply = jax.jit(lambda params, tokens: model.network.apply(params, {}, tokens, False)[0])
    logits = OPENERS[name](EXPORTERS[name](model, params), Path(name))
    for shape in ((1, 1), (3, 5), (2, 9)):
        tokens = TOKENS[: shape[0], : shape[1]]
        np.testing.assert_allclose(logits(tokens), apply(params, tokens), rtol=1e-4, atol=1e-4)
    tokens = probe_tokens(model)
    assert tokens.shape[1] > model.context
    wanted = probe_logits(model, params, {})
    np.testing.assert_allclose(logits(tokens), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [ONNX, STABLEHLO])
def test_what_is_no_program_is_refused(name):
    with pytest.raises(InputError, match=f"`{name}` is no .*: export it anew"):
        OPENERS[name](b"something else", Path(name))
