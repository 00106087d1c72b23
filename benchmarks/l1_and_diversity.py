"""Does L1 in a generator make its images more diverse? The default experiment, with and without, and its rivals.

    python benchmarks/l1_and_diversity.py [--steps 10000] [--seeds 3] [--only NAME …]   # goes on where it stopped
    python benchmarks/l1_and_diversity.py --page                                        # fills the page's tables alone

Every variant trains the dense GAN of `experiments/digits.py` on scikit-learn's digits, all seeds in one program;
methods that reach a share of zeros are compared at the same share. 1,797 images of the averaged generator are judged
against the 1,797 real ones, on the features of a classifier of the digits and by the classes that it sees.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from measure import RESULTS, write_result
from seeds import CHUNK, keys, start, trainer

import l1jax
from l1jax.command_line import load_experiment
from l1jax.config import L1, L2, Adversarial, Balance, Config, ElasticNet, GroupL1, MlpGan, Optimizer, Schedule
from l1jax.data.source import take
from l1jax.data.sources import open_source
from l1jax.evaluation import class_coverage, pair_similarity
from l1jax.evaluation.classifier import classifier_features, predict, train_classifier
from l1jax.evaluation.features import extract_all
from l1jax.evaluation.scores import feature_scores
from l1jax.evaluation.zeros import count_zeros
from l1jax.training import task as tasks
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.state import Average

RESULT = RESULTS / f"l1_and_diversity-{jax.default_backend()}.json"
PAGE = Path(__file__).parent.parent / "docs" / "l1_and_diversity.md"
KERNELS = r"(^|/)kernel$"
ROWS = ("zeros", "frechet_distance", "kernel_distance", "precision", "recall", "coverage", "ms_ssim", "reverse_kl")


class Variant(NamedTuple):
    """What is changed in the experiment, and the generator's transformation if no configuration has it."""

    change: Callable[[Config], Config]
    transformation: Callable[[Config], optax.GradientTransformation] | None = None


def generator(**fields: Any) -> Variant:
    """Other fields of the generator's optimiser."""
    return Variant(lambda base: replace(base, generator=replace(base.generator, **fields)))


def both(balance: bool = False, **fields: Any) -> Variant:
    """Other fields of both optimisers."""

    def change(base: Config) -> Config:
        assert isinstance(base.objective, Adversarial)
        assert base.discriminator is not None
        objective = replace(base.objective, balance=Balance() if balance else None)
        discriminator = replace(base.discriminator, **({"penalty": L1(1e-5)} if balance else fields))
        return replace(
            base, objective=objective, generator=replace(base.generator, **fields), discriminator=discriminator
        )

    return Variant(change)


def discriminator(**fields: Any) -> Variant:
    """Other fields of the discriminator's optimiser, the generator dense."""

    def change(base: Config) -> Config:
        assert base.discriminator is not None
        return replace(base, discriminator=replace(base.discriminator, **fields))

    return Variant(change)


def dropout(share: float) -> Variant:
    """Dropout in the discriminator."""

    def change(base: Config) -> Config:
        assert isinstance(base.model, MlpGan)
        return replace(base, model=replace(base.model, dropout=share))

    return Variant(change)


def adam(optimizer: Optimizer) -> optax.GradientTransformation:
    return optax.adam(optimizer.learning_rate, optimizer.b1, optimizer.b2)


def pruned(share: float) -> Variant:
    """The smallest kernel entries pruned gradually over the first three quarters."""

    def transformation(base: Config) -> optax.GradientTransformation:
        schedule = optax.polynomial_schedule(0.0, share, 3, 3 * base.steps // 4)
        return optax.chain(adam(base.generator), l1jax.magnitude_pruning(schedule, 100, KERNELS))

    return Variant(lambda base: base, transformation)


def rigged(share: float) -> Variant:
    """RigL over the first three quarters."""

    def transformation(base: Config) -> optax.GradientTransformation:
        return l1jax.rigl(adam(base.generator), share, stop=3 * base.steps // 4, pattern=KERNELS)

    return Variant(lambda base: base, transformation)


def debiased(share: float, penalty: Any) -> Variant:
    """The target approached over the first half; from three quarters on its zeros are kept and nothing is shrunk."""

    def change(base: Config) -> Config:
        schedule = Schedule(warmup=base.steps // 2)
        fields = {"sparsity_target": share, "strength_schedule": schedule, "debias_after": 3 * base.steps // 4}
        return replace(base, generator=replace(base.generator, penalty=penalty, **fields))

    return Variant(change)


START = 1e-4  # strength from which the way to a target begins
VARIANTS = {
    "dense": generator(),
    "L1, metric prox, 50 %": generator(penalty=L1(START), sparsity_target=0.5),
    "L1, metric prox, 80 %": generator(penalty=L1(START), sparsity_target=0.8),
    "L1, metric prox, 95 %": generator(penalty=L1(START), sparsity_target=0.95),
    "L1, metric prox, 80 %, slowly, debiased": debiased(0.8, L1(START)),
    "L1, metric prox, 95 %, slowly, debiased": debiased(0.95, L1(START)),
    "L1, plain prox, 80 %": generator(penalty=L1(START), sparsity_target=0.8, method="plain"),
    "L1, subgradient, 1e-4": generator(penalty=L1(1e-4), method="subgradient"),
    "elastic net, metric prox, 80 %": generator(penalty=ElasticNet(START, 1e-4), sparsity_target=0.8),
    "group L1 on output channels, 80 %": generator(penalty=GroupL1(START), sparsity_target=0.8),
    "group L1 on output channels, 80 %, slowly, debiased": debiased(0.8, GroupL1(START)),
    "L2, 1e-3": generator(penalty=L2(1e-3)),
    "magnitude pruning, 80 %": pruned(0.8),
    "magnitude pruning, 95 %": pruned(0.95),
    "RigL, 80 %": rigged(0.8),
    "RigL, 95 %": rigged(0.95),
    "dropout in the discriminator, 30 %": dropout(0.3),
    "L1 on the discriminator, 50 %": discriminator(penalty=L1(START), sparsity_target=0.5),
    "L1 on both, 80 %": both(penalty=L1(START), sparsity_target=0.8),
    "L1, metric prox, 80 %, balanced": both(balance=True, penalty=L1(START), sparsity_target=0.8),
}


class Judge(NamedTuple):
    """The real digits, and how they are seen."""

    images: np.ndarray
    labels: np.ndarray
    classifier: Any
    seen: Any

    def scores(self, generated: np.ndarray, seed: int) -> dict[str, float]:
        """Numbers of one seed's images."""
        found = feature_scores(self.seen, extract_all(classifier_features(self.classifier), generated), seed)
        classes = class_coverage(predict(self.classifier, generated), np.bincount(self.labels))
        found |= {"modes": float(classes.modes), "reverse_kl": float(classes.reverse_kl)}
        return {**found, "ms_ssim": float(pair_similarity(generated, pairs=500, seed=seed).mean)}


def make_judge() -> Judge:
    """Train the classifier, the same every time."""
    source = open_source(load_experiment("digits").data)
    assert source.labels is not None
    images = take(source, np.arange(source.length))
    classifier = train_classifier(images, source.labels)
    return Judge(images, source.labels, classifier, extract_all(classifier_features(classifier), images))


def fit(variant: Variant, steps: int, seeds: int, judge: Judge) -> dict[str, list[float]]:
    """Train all seeds of a variant; every score of each seed."""
    experiment = replace(load_experiment("digits"), steps=steps)
    dense = replace(experiment, generator=replace(experiment.generator, penalty=L1(0.0)))
    experiment, build = variant.change(dense), tasks.build_optimizer

    def building(optimizer: Optimizer, *rest: Any) -> optax.GradientTransformation:
        ours = variant.transformation is not None and optimizer is experiment.generator
        return variant.transformation(experiment) if ours else build(optimizer, *rest)

    with mock.patch.object(tasks, "build_optimizer", building):
        task = tasks.make_task(experiment, judge.images.shape[1:])
    train, states = trainer(task, jnp.asarray(judge.images), experiment.batch_size), start(task, seeds)
    for _ in range(steps // CHUNK):
        states = train(states, keys(seeds, "training"))
    sampler, found = make_sampler(task.generator), []
    for seed in range(seeds):
        average = Average(*jax.tree.map(lambda leaf, seed=seed: leaf[seed], tuple(states.average)))
        latents = draw_latents(task.generator, tasks.stream(seed, "evaluation"), len(judge.images))
        zeros = count_zeros(average.params).sparsity
        found.append({"zeros": zeros, **judge.scores(sampler(average, latents), seed)})
    return {name: [own[name] for own in found] for name in found[0]}


def table(variants: dict[str, dict[str, list[float]]]) -> str:
    """Mean ± deviation of each score, a row for each variant."""
    heads = ("variant", "zeros, %", "Fréchet ↓", "kernel ↓", "precision ↑", "recall ↑", "coverage ↑", "MS-SSIM", "KL ↓")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, scores in variants.items():
        cells = []
        for row in ROWS:
            each = np.asarray(scores[row]) * (100 if row == "zeros" else 1)
            digits = 1 if row == "zeros" else 3 if row in ("kernel_distance", "reverse_kl") else 2
            cells.append(f"{each.mean():.{digits}f} ± {each.std(ddof=1):.{digits}f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fill(page: str, text: str) -> str:
    """The page with its table replaced."""
    before, rest = page.split("<!-- table -->\n")
    return f"{before}<!-- table -->\n\n{text}\n\n{rest[rest.index('<!-- end -->') :]}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000, help=f"a multiple of {CHUNK}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="NAME", help="these variants alone")
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--page", action="store_true", help="fill the page's table from the kept result")
    options = parser.parse_args(arguments)
    if options.page:
        PAGE.write_text(fill(PAGE.read_text(), table(json.loads(options.output.read_text())["variants"])))
        return
    setting = {"steps": options.steps, "seeds": options.seeds}
    kept = json.loads(options.output.read_text()) if options.output.exists() else {}
    done = kept["variants"] if {name: kept.get(name) for name in setting} == setting else {}
    judge = make_judge()
    for name in options.only or VARIANTS:
        if name in done:
            continue
        done[name] = fit(VARIANTS[name], **setting, judge=judge)
        means = {row: round(float(np.mean(values)), 4) for row, values in done[name].items()}
        print(name, means, flush=True)
        ordered = {name: done[name] for name in VARIANTS if name in done}
        command = f"python benchmarks/l1_and_diversity.py --steps {options.steps} --seeds {options.seeds}"
        protocol = classifier_features(judge.classifier).protocol
        write_result(options.output, command, {**setting, "features": protocol, "variants": ordered})


if __name__ == "__main__":
    main()
