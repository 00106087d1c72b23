"""How good are the images?

Experiments are trained dense and with L0 to 80 % zeros, and judged on two kinds of features.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gpu_record import Record
from PIL import Image, ImageDraw

from l1jax.config import ImageData
from l1jax.data.batches import shuffled_indices
from l1jax.data.opening import open_source
from l1jax.data.source import Source, take
from l1jax.evaluation.classifier import classifier_features
from l1jax.evaluation.classifier_training import ClassifierSettings, train_classifier
from l1jax.evaluation.features import FeatureExtractor, extract_all, random_features
from l1jax.evaluation.scores import feature_scores
from l1jax.evaluation.zeros import count_zeros
from l1jax.reporting import image_grid, save_image
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.saved_run import load_run

TARGET = 0.8  # share of zeros
DENSE = "dense"
JUDGED = 5_000  # images, where there are so many
SHOWN = 64
TRAINING_SHARE = 0.75  # of the time; the rest judges
SCORES = ("frechet_distance", "kernel_distance", "precision", "recall", "coverage")


class Subject(NamedTuple):
    """An experiment on some images.

    config: the experiment.
    data: where its images are.
    flags: what else is given to the command line.
    job: the case of `fast` whose measured speed tells how many steps there is time for.
    draws: batches per step.
    """

    config: str
    data: ImageData
    flags: tuple[str, ...]
    job: str
    draws: int = 1


def measure(record: Record, options: argparse.Namespace) -> None:
    """The faces, then CIFAR-10 with what time is left."""
    with tempfile.TemporaryDirectory() as folder:
        subjects = smoke_subjects(Path(folder)) if record.smoke else given_subjects(options)
        if not subjects:
            record.keep("images", "none given: --faces names a folder or archive")
        for i, (name, subject) in enumerate(subjects.items()):
            seconds = record.seconds_left() / (len(subjects) - i)
            measure_subject(record, options, name, subject, Path(folder, name), seconds)


def given_subjects(options: argparse.Namespace) -> dict[str, Subject]:
    found = {}
    if options.faces:
        data = ImageData(str(options.faces.absolute()), image_size=64, channels=1)
        found["faces"] = Subject("faces", data, (), "dcgan64, batch 64, float32")
    if options.cifar10:
        data = ImageData(str(options.cifar10.absolute()), image_size=32, subfolder="train")
        found["cifar10"] = Subject("cifar10", data, (), "sn_resnet32, batch 64, float32", draws=5)
    return found


def smoke_subjects(folder: Path) -> dict[str, Subject]:
    """Random grey images in two classes, and a narrow dense network, which compiles quickly."""
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (folder / "images" / name).mkdir(parents=True)
        for i in range(24):
            image = Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8))
            image.save(folder / "images" / name / f"{i}.png")
    data = ImageData(str(folder / "images"), image_size=16, channels=1)
    narrow = (
        "--model.generator-hidden",
        "16",
        "--model.discriminator-hidden",
        "16",
        "--batch-size",
        "8",
    )
    return {"noise": Subject("digits", data, narrow, "vae, batch 4, bfloat16")}


def measure_subject(
    record: Record,
    options: argparse.Namespace,
    name: str,
    subject: Subject,
    folder: Path,
    seconds: float,
) -> None:
    """Train both at once, then judge and draw them.

    One training alone leaves most of a large chip idle.
    """
    budget = TRAINING_SHARE * seconds
    steps = 8 if record.smoke else possible_steps(record, subject, options.steps, budget)
    workdirs = {DENSE: folder / "dense", f"L0, {TARGET:.0%} zeros": folder / "l0"}
    if record.smoke:
        del workdirs[DENSE]  # trained by the same commands with fewer flags
    trained = record.attempt(
        f"{name}, training", partial(train_all, subject, workdirs, steps, budget)
    )
    if trained is None:
        return
    source = open_source(subject.data)
    views: list[View] = []

    def make_views() -> dict[str, str]:
        views.extend(views_of(source, record.smoke))
        return {view.name: view.features.protocol for view in views}

    if record.attempt(f"{name}, protocol", make_views) is None:
        return
    real, others = real_images(source, record.smoke)
    pictures = {"real": real[:SHOWN]}
    record.attempt(f"{name}, other real images", partial(judged, views, real, others))
    for variant, workdir in workdirs.items():

        def score(workdir: Path = workdir, variant: str = variant) -> dict[str, Any]:
            images, zeros, step = draw_images(workdir, len(real))
            pictures[variant] = images[:SHOWN]
            return {"step": step, "zeros": zeros, **judged(views, real, images)}

        record.attempt(f"{name}, {variant}", score)
    sheet = record.path.parent / "samples.png"
    record.attempt(f"{name}, samples", partial(draw_sheet, pictures, sheet))


def possible_steps(record: Record, subject: Subject, wanted: int, seconds: float) -> int:
    """Return as many of the wanted steps as the measured speed allows.

    `fast` measured the speed; two trainings share the device.
    """
    try:
        text = (record.path.parent / "fast-gpu.json").read_text(encoding="utf-8")
        speed = json.loads(text)["items"][subject.job]["l1jax proximal"]["median"]
    except (FileNotFoundError, KeyError):
        return wanted
    images_per_step = 64 * subject.draws
    starting = 40  # seconds, for both to compile
    possible = int(max(seconds - starting, 0) * speed / images_per_step / 2)
    return max(min(wanted, possible - possible % 100), 100)


def train_all(
    subject: Subject, workdirs: dict[str, Path], steps: int, seconds: float
) -> dict[str, Any]:
    """Run the training commands beside each other.

    A command that runs too long is asked to stop, and saves.
    """
    penalised = ["--generator.penalty", "l0", "--generator.penalty.strength", "1e-4"]
    penalised += ["--generator.sparsity-target", f"{TARGET}"]
    penalised += ["--generator.strength-schedule.warmup", f"{steps // 2}"]
    penalised += ["--generator.debias-after", f"{3 * steps // 4}"]
    plain = ["--generator.penalty.strength", "0"]
    began = time.monotonic()
    running = {
        workdir: start_training(subject, workdir, steps, plain if variant == DENSE else penalised)
        for variant, workdir in workdirs.items()
    }
    found: dict[str, Any] = {"steps": steps}
    for variant, workdir in workdirs.items():
        process = running[workdir]
        left = max(began + seconds - time.monotonic(), 1)
        try:
            status = process.wait(timeout=left)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            status = process.wait()
        said = Path(f"{workdir}.log").read_text(encoding="utf-8")
        if status not in (0, 128 + signal.SIGTERM):
            raise RuntimeError(f"training of {variant} ended with {status}: {said[-300:]!r}")
        found[f"{variant} ended with"] = status
    return found | {"seconds": time.monotonic() - began}


def start_training(
    subject: Subject, workdir: Path, steps: int, flags: list[str]
) -> subprocess.Popen:
    workdir.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "l1jax.train",
        "--config",
        subject.config,
        "--workdir",
        str(workdir),
    ]
    data = subject.data
    command += ["--data", "image", "--data.path", data.path, "--data.subfolder", data.subfolder]
    command += ["--data.image-size", str(data.image_size), "--data.channels", str(data.channels)]
    command += ["--steps", str(steps), *subject.flags, *flags]
    for name, times in (("log", 10), ("sample", 4), ("checkpoint", 2)):
        command += [f"--{name}-every", str(max(steps // times, 1))]
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with Path(f"{workdir}.log").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def real_images(source: Source, smoke: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images to judge by, and as many others."""
    count = min(JUDGED, source.length // 2)
    chosen = shuffled_indices(0, 0, 2 * count, source.length)
    return take(source, chosen[:count]), take(source, chosen[count:])


class View(NamedTuple):
    """A way to see images."""

    name: str
    features: FeatureExtractor


def views_of(source: Source, smoke: bool) -> list[View]:
    """Return fixed random convolutions, and a classifier of the labelled images.

    The protocol states the classifier's accuracy.
    """
    found = [View("random", random_features())]
    if source.labels is not None:
        settings = (
            ClassifierSettings(steps=4, hidden=16, held_out=0.3) if smoke else ClassifierSettings()
        )
        images = take(source, np.arange(source.length))
        found.append(
            View(
                "classifier", classifier_features(train_classifier(images, source.labels, settings))
            )
        )
    return found


def judged(views: list[View], real: np.ndarray, images: np.ndarray) -> dict[str, dict[str, float]]:
    """Scores of images against the real ones, in each view."""
    found = {}
    for view in views:
        pair = [extract_all(view.features, each) for each in (real, images)]
        scores = feature_scores(*pair)
        found[view.name] = {name: float(scores[name]) for name in SCORES}
    return found


def draw_images(workdir: Path, count: int) -> tuple[np.ndarray, float, int]:
    """Images of a run's averaged generator, the zeros of its kernels, and its step."""
    trained = load_run(workdir, None, print)
    generator = trained.task.generator
    latents = draw_latents(generator, named_seed_key(0, "evaluation"), count)
    images = make_sampler(generator)(trained.state.average, latents)
    layers = count_zeros(trained.state.average.params).layers
    entries = sum(layer.entries for layer in layers)
    return images, sum(layer.zeros for layer in layers) / entries, trained.step


def draw_sheet(pictures: dict[str, np.ndarray], path: Path) -> str:
    """Draw the grids beside each other, each under its name.

    They go below those that the file has already.
    """
    margin = 24
    grids = {name: image_grid(images).convert("RGB") for name, images in pictures.items()}
    width = sum(grid.width + margin for grid in grids.values()) + margin
    height = max(grid.height for grid in grids.values()) + 2 * margin
    above = Image.open(path).convert("RGB") if path.exists() else None
    top = above.height if above else 0
    sheet = Image.new("RGB", (max(width, above.width if above else 0), top + height), "white")
    if above:
        sheet.paste(above, (0, 0))
    draw = ImageDraw.Draw(sheet)
    left = margin
    for name, grid in grids.items():
        draw.text((left, top + 4), name, fill="black", font_size=16)
        sheet.paste(grid, (left, top + margin))
        left += grid.width + margin
    save_image(sheet, path)
    return path.name
