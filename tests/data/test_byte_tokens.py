import numpy as np
import pytest

from l1jax.data.byte_tokens import BOUNDARY, decode, encode, to_text


def test_a_document_ends_at_its_boundary():
    tokens = encode("aé")
    np.testing.assert_array_equal(tokens, [BOUNDARY, 97, 0xC3, 0xA9])
    assert decode(tokens[1:]) == "aé".encode()
    assert decode(np.array([97, 98, BOUNDARY, 99])) == b"ab"
    assert decode(tokens) == b""
    np.testing.assert_array_equal(encode(b"\xff"), [BOUNDARY, 255])


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_character_is_whole_or_not_there(cut):
    text = "x😀"
    assert to_text(text.encode()[: 1 + cut]) == (text if cut == 4 else "x")
    assert to_text(b"a\xffb" + text.encode()[: 1 + cut]).startswith("a\ufffdbx")
