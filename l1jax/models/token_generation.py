"""Continue sequences of tokens by a language model."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer, Key, PyTree

from l1jax.models.token_sampling import Sampling, draw_tokens
from l1jax.models.transformer import Cache, LanguageModel

OWN_DISTRIBUTION = Sampling()


def generate(
    model: LanguageModel,
    params: PyTree,
    prompts: Integer[Array | np.ndarray, "batch prompt"],
    key: Key[Array, ""],
    length: int,
    sampling: Sampling = OWN_DISTRIBUTION,
    prompt_lengths: Integer[Array | np.ndarray, " batch"] | None = None,
) -> Int[Array, "batch {length}"]:
    """Continue each prompt by `length` tokens, in one scan with a cache of keys and values.

    The tokens are distributed as those drawn from one pass over the whole sequence so far, also
    beyond the model's context. Sequence i depends on the key and on i, but not on how many others
    are generated beside it. The function can be jitted, with `model`, `length` and `sampling`
    static.

    Args:
        model: the network.
        params: its parameters.
        prompts: tokens to continue, at least one each; longer than the context, if you like.
        key: random key.
        length: tokens to generate for each prompt, at least 1.
        sampling: temperature and which tokens can be drawn.
        prompt_lengths: length of each prompt, from 1 on, where `prompts` are padded behind to the
            longest one; None if all have the same.

    Returns:
        The tokens that follow each prompt, without the prompt.

    Raises:
        ValueError: if a prompt or the continuation has no token, or `sampling` is out of its range.
    """
    batch, longest = prompts.shape
    if not longest or length < 1:
        raise ValueError(
            f"`prompts` (of {longest} tokens) must have at least 1 token, such as the boundary "
            f"between documents, and `length` (={length}) must be at least 1."
        )
    if prompt_lengths is None:
        prompt_lengths = np.full(batch, longest)
    ends = jnp.asarray(prompt_lengths, jnp.int32)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(batch))
    given = jnp.pad(jnp.asarray(prompts, jnp.int32), ((0, 0), (0, length)))

    def step(
        carry: tuple[Int[Array, " batch"], Cache], following: Int[Array, " batch"]
    ) -> tuple[tuple[Int[Array, " batch"], Cache], Int[Array, " batch"]]:
        tokens, cache = carry
        logits, cache = model.decode(params, tokens, cache)
        position = cache.position  # of the token that follows
        own_keys = jax.vmap(lambda key: jax.random.fold_in(key, position))(keys)
        drawn = draw_tokens(own_keys, logits, sampling)
        tokens = jnp.where(position < ends, following, drawn)
        return (tokens, cache), tokens

    start = (given[:, 0], model.init_cache(batch))
    _, tokens = jax.lax.scan(step, start, given[:, 1:].T)
    # Column c holds the token at position c + 1.
    columns = ends[:, None] - 1 + jnp.arange(length)
    return jnp.take_along_axis(tokens.T, columns, axis=1)
