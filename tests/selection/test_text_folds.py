"""Text in folds: what each is trained on, and how its runs are scored."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from l1jax.build import example_shape
from l1jax.config import L1, Config, InputError, NextToken, Optimizer, TopicsData, Transformer
from l1jax.data.batches import Batch
from l1jax.data.corpus import Corpus
from l1jax.data.text_batches import text_feed
from l1jax.selection.choose import ChoiceRule
from l1jax.selection.experiments import with_strength
from l1jax.selection.plan import Plan
from l1jax.selection.task_replicas import select_replica, vectorize_task
from l1jax.selection.text_folds import divide_text, make_text_scorer, open_text_data, text_fold_feed
from l1jax.training.keys import named_seed_key
from l1jax.training.parallel import make_runner
from l1jax.training.task import make_task

pytestmark = pytest.mark.usefixtures("one_device")

WINDOW = 6
EXPERIMENT = Config(
    data=TopicsData(window=WINDOW),
    model=Transformer(width=8, layers=1, heads=2, context=WINDOW),
    objective=NextToken(),
    generator=Optimizer(learning_rate=1e-2, b1=0.9, penalty=L1(1e-2)),
    discriminator=None,
    batch_size=4,
    steps=3,
)


def corpus(*documents):
    sizes = np.array([len(document) for document in documents], np.int64)
    content = np.frombuffer(b"".join(documents), np.uint8)
    return Corpus(content, np.cumsum(sizes) - sizes, sizes, "f")


DOCUMENTS = [bytes([97 + i]) * (10 + i) for i in range(12)]
TEXT = corpus(*DOCUMENTS)


def plan(criterion="bits_per_byte", folds=3, experiment=EXPERIMENT):
    rule = ChoiceRule(criterion, "minimum", 0.0, 0.0)
    return Plan(
        experiment=experiment,
        network="generator",
        strengths="1e-3,1e-2",
        rule=rule,
        precision=1.2,
        folds=folds,
        steps=3,
        how="together",
        order="dense-to-sparse",
        halvings=0,
        dense=False,
        features="pixels",
    )


def documents_of(text):
    return [text.document(i) for i in range(text.num_documents)]


def test_each_document_is_held_out_once():
    folds = divide_text(plan(), EXPERIMENT.data, TEXT, None)
    held_out = [document for fold in folds for document in documents_of(fold.scored)]
    assert sorted(held_out) == DOCUMENTS
    for fold in folds:
        assert len(documents_of(fold.scored)) == 4
        both = documents_of(fold.training) + documents_of(fold.scored)
        assert sorted(both) == DOCUMENTS
    other_seed = plan(experiment=replace(EXPERIMENT, seed=1))
    others = divide_text(other_seed, EXPERIMENT.data, TEXT, None)
    assert documents_of(others[0].scored) != documents_of(folds[0].scored)


def test_one_document_is_divided_into_blocks():
    text = np.random.default_rng(0).integers(97, 122, 6 * 8192, np.uint8).tobytes()
    folds = divide_text(plan(), EXPERIMENT.data, corpus(text), None)
    assert [fold.scored.num_bytes for fold in folds] == [2 * 8192] * 3
    assert all(fold.training.num_bytes == 4 * 8192 for fold in folds)
    assert all(d in text for fold in folds for d in documents_of(fold.scored))


def test_information_criteria_train_and_score_by_all_text():
    (fold,) = divide_text(plan("bic"), EXPERIMENT.data, TEXT, None)
    assert fold.training is fold.scored is TEXT
    data = open_text_data(plan("bic"), EXPERIMENT.data, TEXT, None)
    assert data.count == sum(map(len, DOCUMENTS)) + len(DOCUMENTS)


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(
        InputError, match=r"`--folds` \(=13\) must be .* documents \(=12\).* blocks"
    ):
        divide_text(plan(folds=13), EXPERIMENT.data, TEXT, None)
    with pytest.raises(InputError, match=r"`--folds` \(=1\) must be at least 2, or --holdout"):
        divide_text(plan(folds=1), EXPERIMENT.data, TEXT, None)
    with pytest.raises(InputError, match=r"different blocks \(=1\): give more text\."):
        divide_text(plan(), EXPERIMENT.data, corpus(b"one line"), None)
    with pytest.raises(InputError, match=r"`data.window` \(=1000\)"):
        open_text_data(plan(), replace(EXPERIMENT.data, window=1000), TEXT, None)
    small = plan(experiment=replace(EXPERIMENT, resident_mib=0))
    with pytest.raises(InputError, match=r"`resident_mib` \(=0\) must hold the tokens"):
        open_text_data(small, EXPERIMENT.data, TEXT, None)


def test_a_fold_sees_the_batches_of_a_run_on_its_documents():
    halves = [corpus(*DOCUMENTS[:5]), corpus(*DOCUMENTS[5:])]
    feed = text_fold_feed(halves, WINDOW, seed=3, batch_size=4)
    chunk = feed.chunk(1, 9)  # more than one pass over the first
    for i, half in enumerate(halves):
        alone = text_feed(half, WINDOW, 3, 4, 2**20)
        starts = alone.chunk(1, 9)
        for step in range(9):
            found = feed.make_batch(feed.resident, jnp.asarray(chunk[i, step]))
            wanted = alone.make_batch(alone.resident, jnp.asarray(starts[step]))
            assert isinstance(found, Batch)
            np.testing.assert_array_equal(found.example, wanted.example)
            np.testing.assert_array_equal(found.label, wanted.label)


@pytest.mark.slow
def test_a_replica_ends_as_training_alone_does():
    halves = [corpus(*DOCUMENTS[:5]), corpus(*DOCUMENTS[5:])]
    task = make_task(with_strength(EXPERIMENT, "generator", 1.0), example_shape(EXPERIMENT.data))
    feed = text_fold_feed(halves, WINDOW, seed=0, batch_size=4)
    start = named_seed_key(0, "parameters")
    key = named_seed_key(0, "training")
    replicas = vectorize_task(
        task, 2, feed, network="generator", start=start, devices=jax.devices()[:1]
    )
    strengths = [1e-3, 1e-2]
    states, _ = replicas.run(
        replicas.init(np.array(strengths)), feed.resident, replicas.put(feed.chunk(0, 3)), key
    )
    alone = make_task(
        with_strength(EXPERIMENT, "generator", strengths[1]), example_shape(EXPERIMENT.data)
    )
    own_feed = text_feed(halves[1], WINDOW, 0, 4, 2**20)
    runner = make_runner(alone, own_feed, jax.devices()[:1])
    state, _ = runner.run(
        runner.replicate(alone.init(start)),
        runner.replicate(own_feed.resident),
        own_feed.chunk(0, 3),
        key,
    )
    found = select_replica(jax.device_get(states), 1, 1)
    for a, b in zip(
        jax.tree.leaves(found.generator.params),
        jax.tree.leaves(state.generator.params),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=5e-4)  # a step of Adam is 1e-2


@pytest.mark.slow
def test_a_model_that_knows_nothing_needs_the_bits_of_a_uniform_draw():
    task = make_task(EXPERIMENT, example_shape(EXPERIMENT.data))
    state = jax.jit(task.init)(jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, state.average)
    scorer = make_text_scorer(task, [TEXT], WINDOW, 0)
    result = scorer.score(state._replace(average=zeros), 0)
    assert result.scores["bits_per_byte"] == pytest.approx(math.log2(257), rel=1e-6)
    assert result.scores["log_likelihood"] == pytest.approx(-math.log(257), rel=1e-6)
    assert result.nonzeros == 0
    assert result.samples.shape == (2, 300)
    bad = jax.tree.map(lambda leaf: leaf + math.nan, zeros)
    assert math.isnan(scorer.score(state._replace(average=bad), 0).scores["bits_per_byte"])
