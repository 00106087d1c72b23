"""A language model's step against one by hand, and what its run looks at."""

from io import StringIO

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from rich.console import Console

from l1jax.config import TopicsData
from l1jax.data.batches import Batch
from l1jax.data.byte_tokens import VOCABULARY
from l1jax.data.corpus import corpus_subset, document_windows
from l1jax.data.text_source import open_corpus
from l1jax.evaluation.text_likelihood import bits_per_byte, make_window_bits
from l1jax.models import transformer
from l1jax.models.network import AXIS
from l1jax.training.log import open_log
from l1jax.training.next_token_step import make_next_token_step
from l1jax.training.reconstruction_step import init_generator
from l1jax.training.text_observer import NUM_SAMPLES, SAMPLE_LENGTH, make_text_observer

MODEL = transformer(VOCABULARY, 8, 1, 1, context=8)
TX = optax.sgd(0.1)


@pytest.fixture(scope="module")
def state():
    return init_generator(MODEL, TX, jax.random.key(0))


@pytest.mark.slow
def test_a_step_descends_the_mean_over_all_positions(state):
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (1, 3, 9))
    batch = Batch(jnp.asarray(tokens, jnp.int32), *jnp.zeros((2, 1, 3), jnp.int32))
    step = make_next_token_step(MODEL, TX)
    mapped = jax.shard_map(
        step, mesh=Mesh(jax.devices()[:1], (AXIS,)), in_specs=(P(), P(None, AXIS), P()),
        out_specs=P(),
    )  # fmt: skip
    after, metrics = jax.jit(mapped)(state, batch, jax.random.key(1))

    @jax.jit
    def by_hand(params):
        def loss(params):
            logits, _ = MODEL.network.apply(params, {}, tokens[0, :, :-1], False)
            probabilities = jax.nn.softmax(logits)
            chosen = [probabilities[i, j, tokens[0, i, j + 1]] for i in range(3) for j in range(8)]
            return -jnp.mean(jnp.log(jnp.stack(chosen)))

        return jax.value_and_grad(loss)(params)

    value, grads = by_hand(state.generator.params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["bits_per_byte"], value / np.log(2), rtol=1e-5)
    assert metrics["step_taken"] == 1
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.generator.params, grads)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        after.generator.params,
        expected,
    )


@pytest.mark.slow
def test_a_run_writes_samples_and_scores_held_out_documents(state, tmp_path):
    corpus = open_corpus(TopicsData())
    training, held_out = (corpus_subset(corpus, np.arange(i, i + 2)) for i in (0, 2))
    observer = make_text_observer(MODEL, training, held_out, 8, 0, evaluates=True)
    (tmp_path / "samples").mkdir()
    with open_log(tmp_path, 0, 9, Console(file=StringIO())) as log:
        observer.show_samples(3, state, log)
        observer.show_samples(4, state, log)
    page = (tmp_path / "samples/step_000003.txt").read_text()
    assert (tmp_path / "samples/step_000004.txt").read_text() == page
    assert page.count("────\n") == NUM_SAMPLES
    assert len(page) < NUM_SAMPLES * (SAMPLE_LENGTH + 20)
    windows = document_windows(held_out, 8)
    params = state.average.params
    expected = bits_per_byte(make_window_bits(MODEL, windows)(params, {}), windows).mean
    assert observer.score_name == "held_out/bits_per_byte"
    assert observer.score(state.average) == pytest.approx(expected)
    assert observer.evaluate(state.average) == {observer.evaluation_name: pytest.approx(expected)}
    without = make_text_observer(MODEL, training, None, 8, 0, evaluates=False)
    assert without.score_name == "training/bits_per_byte"
    assert without.evaluate(state.average) == {}
    broken = state.average._replace(params=jax.tree.map(lambda x: x * jnp.nan, params))
    assert observer.score(broken) == float("inf")
