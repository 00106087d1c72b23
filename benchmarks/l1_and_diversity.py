"""Does L1 in a generator make its images more diverse?

One experiment is trained with and without it, and with its rivals.

    python benchmarks/l1_and_diversity.py --data digits [--steps N] [--seeds N] [--only NAME …]
    python benchmarks/l1_and_diversity.py --data mnist --path IMAGES   # or faces
    python benchmarks/l1_and_diversity.py --data grid                  # or ring
    python benchmarks/l1_and_diversity.py --page                       # fills the page alone
    python benchmarks/l1_and_diversity.py --smoke                      # a few steps; keeps nothing

A run that was stopped goes on with the variants that are missing.

Every variant trains the same experiment, all seeds in one program; methods that reach a share of
zeros are compared at the same share. Images of the averaged generator are judged against as many
real ones, on the features of a classifier of the labelled images (fixed random convolutions where
there are no labels) and by the classes that it sees; points by the modes that they reach.
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
from gaussians import POINTS
from gaussians import judge as judge_points
from l1_and_diversity_report import result_file, write_page
from l1_and_diversity_variants import VARIANTS, Variant
from measure import write_result
from seeds import CHUNK, keys, start, trainer

from l1jax.cli.experiment_file import load_experiment
from l1jax.config import L1, Config, Dcgan, IdxData, ImageData, MixtureData, Optimizer, Schedule
from l1jax.data.batches import shuffled_indices
from l1jax.data.mixture_source import MIXTURES, draw_points
from l1jax.data.opening import open_source
from l1jax.data.source import take
from l1jax.evaluation import class_coverage, pair_similarity
from l1jax.evaluation.classifier import classifier_features, predict
from l1jax.evaluation.classifier_training import ClassifierSettings, train_classifier
from l1jax.evaluation.features import extract_all, random_features
from l1jax.evaluation.scores import feature_scores
from l1jax.evaluation.zeros import count_zeros
from l1jax.training import task_parts
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.state import GanState, Task
from l1jax.training.task import make_task

JUDGED = 5_000  # images, where there are so many
SMOKE = {
    "ring": ("RigL, 80 %", "L1, metric prox, 80 %, balanced"),
    "digits": ("dense, stopped early",),
}


class Subject(NamedTuple):
    """A dense experiment, what it is trained on, and how one seed of it is judged."""

    experiment: Config
    examples: np.ndarray
    judge: Callable[[Task], Callable[[GanState, int], dict[str, float]]]
    criterion: str  # the score that early stopping looks at
    protocol: str


SUBJECTS = ("digits", "mnist", "faces", "grid", "ring")


def subject_of(
    data: str, path: str, steps: int, settings: ClassifierSettings | None = None
) -> Subject:
    """Return the experiment with these data.

    Where there are many images the network is narrower, sized for a CPU. The settings are those of
    the classifier that judges images.
    """
    if data in MIXTURES:
        return points(data, steps)
    experiment = load_experiment(data)
    if data == "mnist":
        experiment = replace(
            experiment, data=IdxData(path), model=Dcgan(latent_size=64, channels=16)
        )
    elif data == "faces":
        grey, model = (
            ImageData(path, image_size=64, channels=1),
            Dcgan(latent_size=100, channels=16),
        )
        experiment = replace(experiment, data=grey, model=model, batch_size=32)
    return images(experiment, steps, settings)


def dense(experiment: Config, steps: int) -> Config:
    """Without its penalty, and of another length."""
    return replace(
        experiment, steps=steps, generator=replace(experiment.generator, penalty=L1(0.0))
    )


def images(experiment: Config, steps: int, settings: ClassifierSettings | None) -> Subject:
    """Images, seen by a classifier of them if they have labels; the same one every time."""
    source = open_source(experiment.data)
    examples = take(source, np.arange(source.length))
    chosen = shuffled_indices(0, 0, min(JUDGED, source.length), source.length)
    labels, classifier, features = source.labels, None, random_features()
    if labels is not None:
        classifier = train_classifier(examples, labels, settings)
        features = classifier_features(classifier)
    seen = extract_all(features, examples[chosen])

    def judge(task: Task) -> Callable[[GanState, int], dict[str, float]]:
        sampler = make_sampler(task.generator)

        def scores(state: GanState, seed: int) -> dict[str, float]:
            latents = draw_latents(task.generator, named_seed_key(seed, "evaluation"), len(chosen))
            generated = sampler(state.average, latents)
            found = feature_scores(seen, extract_all(features, generated), seed)
            if classifier is not None:
                classes = class_coverage(
                    predict(classifier, generated), np.bincount(np.asarray(labels)[chosen])
                )
                found |= {"modes": float(classes.modes), "reverse_kl": float(classes.reverse_kl)}
            zeros = count_zeros(state.average.params).sparsity
            return {
                "zeros": zeros,
                **found,
                "ms_ssim": float(pair_similarity(generated, pairs=500, seed=seed).mean),
            }

        return scores

    protocol = (
        f"{len(chosen)} real images and as many generated ones of each seed, {features.protocol}"
    )
    return Subject(dense(experiment, steps), examples, judge, "kernel_distance", protocol)


def points(shape: str, steps: int) -> Subject:
    """Return the experiment on points of a mixture, as in `gaussians.py`.

    The learning rate falls to the end of a shorter training too.
    """
    falling = Schedule("cosine", steps=steps, end=0.01)
    experiment = replace(load_experiment("gaussians"), data=MixtureData(shape))  # type: ignore[arg-type]
    adversary = replace(experiment.discriminator, learning_rate_schedule=falling)  # type: ignore[type-var]
    own = replace(experiment.generator, learning_rate_schedule=falling)
    mixture = MIXTURES[shape]()
    examples, _ = draw_points(mixture, POINTS, 0)

    def judge(task: Task) -> Callable[[GanState, int], dict[str, float]]:
        judged = jax.jit(lambda state, key: judge_points(task, mixture, state, key))

        def scores(state: GanState, seed: int) -> dict[str, float]:
            coverage, zeros = judged(state, named_seed_key(seed, "samples"))
            return {
                "zeros": float(zeros),
                **{name: float(value) for name, value in coverage._asdict().items()},
            }

        return scores

    changed = dense(replace(experiment, generator=own, discriminator=adversary), steps)
    return Subject(
        changed, examples.reshape(-1, 1, 1, 2), judge, "reverse_kl", "2,500 points of each seed"
    )


def fit(variant: Variant, subject: Subject, seeds: int, chunk: int) -> dict[str, list[float]]:
    """Train all seeds of a variant, `chunk` steps in a compiled call; every score of each seed."""
    experiment, build = variant.change(subject.experiment), task_parts.build_optimizer

    def building(optimizer: Optimizer, *rest: Any, **options: Any) -> optax.GradientTransformation:
        inner = build(optimizer, *rest, **options)
        return (
            variant.wrap(inner, experiment)
            if variant.wrap and optimizer is experiment.generator
            else inner
        )

    with mock.patch.object(task_parts, "build_optimizer", building):
        task = make_task(experiment, subject.examples.shape[1:])
    examples = jnp.asarray(subject.examples)
    train = trainer(task, examples, experiment.batch_size, chunk)
    states = start(task, seeds)
    judge = subject.judge(task)
    looks: list[list[dict[str, float]]] = []
    for step in range(chunk, experiment.steps + 1, chunk):
        states = train(states, keys(seeds, "training"))
        if variant.early or step == experiment.steps:
            each = [
                jax.tree.map(lambda leaf, seed=seed: leaf[seed], states) for seed in range(seeds)
            ]
            looks.append([judge(state, seed) for seed, state in enumerate(each)])
    best = [
        min(own, key=lambda scores: scores[subject.criterion]) for own in zip(*looks, strict=True)
    ]
    return {name: [own[name] for own in best] for name in best[0]}


def smoke() -> None:
    """A few steps of two variants on points, and of the dense network on images."""
    for data, names in SMOKE.items():
        subject = subject_of(data, "", steps=4, settings=ClassifierSettings(steps=4))
        for name in names:
            print(data, name, fit(VARIANTS[name], subject, seeds=2, chunk=2))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", choices=SUBJECTS, default="digits")
    parser.add_argument("--path", default="", help="where the images of mnist or faces lie")
    parser.add_argument("--steps", type=int, default=10_000, help=f"a multiple of {CHUNK}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", choices=VARIANTS, metavar="NAME", help="these variants alone"
    )
    parser.add_argument(
        "--output", type=Path, help="default: a file of each data in the results' folder"
    )
    parser.add_argument(
        "--page", action="store_true", help="fill the page's tables and plot from the kept results"
    )
    parser.add_argument("--smoke", action="store_true", help="a few steps; keeps nothing")
    options = parser.parse_args(arguments)
    if options.smoke:
        smoke()
        return
    if options.page:
        write_page(SUBJECTS)
        return
    if options.steps % CHUNK or options.steps < CHUNK:
        parser.error(
            f"--steps (={options.steps}) must be a multiple of {CHUNK}, the steps of one "
            "compiled call."
        )
    output = options.output or result_file(options.data)
    setting = {"data": options.data, "steps": options.steps, "seeds": options.seeds}
    kept = json.loads(output.read_text()) if output.exists() else {}
    done = kept["variants"] if {name: kept.get(name) for name in setting} == setting else {}
    subject = subject_of(options.data, options.path, options.steps)
    for name in options.only or VARIANTS:
        if name in done:
            continue
        done[name] = fit(VARIANTS[name], subject, options.seeds, CHUNK)
        print(
            name,
            {row: round(float(np.mean(values)), 4) for row, values in done[name].items()},
            flush=True,
        )
        ordered = {name: done[name] for name in VARIANTS if name in done}
        flags = [f"--{key} {value}" for key, value in setting.items()] + ["--path IMAGES"] * bool(
            options.path
        )
        command = " ".join(["python benchmarks/l1_and_diversity.py", *flags])
        write_result(
            output, command, {**setting, "protocol": subject.protocol, "variants": ordered}
        )


if __name__ == "__main__":
    main()
