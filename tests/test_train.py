"""The command lines as a whole: train, look at what is there, sample."""

import io
import json
import os
import re
import shutil
import sys
import tarfile

import jax
import numpy as np
import pytest
from PIL import Image

from l1jax import sample, train
from l1jax.cli import process
from l1jax.config import InputError

pytestmark = pytest.mark.slow

TINY = (
    "--steps 12 --log-every 4 --sample-every 8 --checkpoint-every 12 --batch-size 16 "
    "--model.latent-size 4 "
    "--model.generator-hidden 8 --model.discriminator-hidden 8 --generator.penalty.strength 3e-2 "
    "--objective.r1 0 --objective.r2 0"  # without second derivatives, which take long to compile
).split()


def run(workdir, *more, config="digits", flags=TINY):
    arguments = ["--config", config, "--workdir", str(workdir), *flags, *map(str, more)]
    assert train.main(arguments) == 0


def digest(workdir, step=12):
    return json.loads((workdir / "checkpoints" / str(step) / "meta" / "metadata").read_text())[
        "digest"
    ]


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def faces(folder, count=20, side=70):
    """A few grey blobs in the folder, as PNG files."""
    folder.mkdir(exist_ok=True)
    y, x = np.mgrid[:side, :side]
    for i in range(count):
        blob = 255 * np.exp(-((x - side / 2 - i) ** 2 + (y - side / 2) ** 2) / 300)
        Image.fromarray(blob.astype(np.uint8)).save(folder / f"{i:03}.png")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained") / "run"
    run(workdir)
    return workdir


def test_a_run_leaves_what_the_readme_says(trained):
    assert {p.name for p in trained.iterdir()} >= {
        "config.json", "metrics.jsonl", "checkpoints", "samples", "tensorboard"
    }  # fmt: skip
    assert [p.name for p in sorted((trained / "samples").iterdir())] == [
        f"step_{step:06}.png" for step in (0, 8, 12)
    ]
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12]
    for name in ("loss", "gradient_norm", "sparsity", "strength", "sparsity/hidden_0/kernel"):
        assert all(
            f"{network}/{name}" in line
            for network in ("generator", "discriminator")
            for line in lines
        )
    assert lines[-1]["generator/strength"] == pytest.approx(3e-2)
    assert "kernel_distance" in lines[-1]
    assert list((trained / "tensorboard").glob("events.*"))


def test_the_reported_sparsity_is_that_of_the_samples_and_the_average(trained, tmp_path):
    from l1jax.build import image_shape
    from l1jax.training.checkpoint import open_checkpoints
    from l1jax.training.keys import named_seed_key
    from l1jax.training.task import make_task
    from l1jax.training.workdir import read_config

    experiment = read_config(trained)
    task = make_task(experiment, image_shape(experiment.data))
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    template = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
        jax.eval_shape(task.init, named_seed_key(0, "x")),
    )
    checkpoints = open_checkpoints(trained, experiment, None, print, read_only=True)
    state = checkpoints.restore(template).state
    checkpoints.close()
    kernels = [np.asarray(layer["kernel"]) for layer in state.generator.params.values()]
    averages = [np.asarray(layer["kernel"]) for layer in state.average.params.values()]
    zeros = sum((k == 0).sum() for k in kernels) / sum(k.size for k in kernels)
    assert 0.02 < zeros < 0.98
    for kernel, average in zip(kernels, averages, strict=True):
        np.testing.assert_array_equal(kernel == 0, average == 0)
    last = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["generator/sparsity"] == pytest.approx(zeros)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_and_another_another(trained, tmp_path):
    run(tmp_path / "same")
    assert digest(tmp_path / "same") == digest(trained)
    run(tmp_path / "other", "--seed", 1)
    assert digest(tmp_path / "other") != digest(trained)


@pytest.mark.slow
def test_streaming_and_other_intervals_train_the_same_model(trained, tmp_path):
    run(tmp_path / "run", "--resident-mib", 0, "--log-every", 3, "--sample-every", 12)
    assert digest(tmp_path / "run") == digest(trained)


@pytest.mark.slow
def test_decoding_workers_and_a_cache_train_the_same_model(tmp_path):
    folder = faces(tmp_path / "images", count=40)
    flags = (
        *TINY,
        "--data",
        "image",
        "--data.path",
        str(folder),
        "--data.image-size",
        "8",
        "--data.channels",
        "1",
    )
    for name, how in {
        "resident": ("--no-cache",),
        "streamed": ("--no-cache", "--resident-mib", "0"),
        "workers": ("--workers", "2", "--resident-mib", "0"),  # which fill the cache
        "cached": ("--resident-mib", "0"),
    }.items():
        run(tmp_path / name, *how, flags=flags)
    assert (
        len({digest(tmp_path / name) for name in ("resident", "streamed", "workers", "cached")})
        == 1
    )


@pytest.mark.slow
def test_images_that_cannot_be_used_are_left_out_and_counted_at_the_end(tmp_path, capsys):
    folder = faces(tmp_path / "images")
    (folder / "bad.png").write_bytes(b"no image")
    flags = (
        *TINY,
        "--data",
        "image",
        "--data.path",
        str(folder),
        "--data.image-size",
        "8",
        "--data.channels",
        "1",
    )
    with pytest.raises(InputError, match=r"'bad.png'.*--data.on-error skip"):
        run(tmp_path / "run", flags=flags)
    run(tmp_path / "run", "--data.on-error", "skip", flags=flags)
    output = capsys.readouterr().out
    assert "left out: `data.path`" in output
    assert output.index("step 12/12") < output.index("1 left out in all; the first:")
    assert "20 images of 8 × 8 × 1" in output


@pytest.mark.slow
def test_held_out_examples_are_not_trained_on(trained, tmp_path, capsys):
    run(tmp_path / "run", "--holdout", "0.25")
    (count,) = re.findall(r"([\d,]+) images of 8", capsys.readouterr().out)
    assert 1250 < int(count.replace(",", "")) < 1450  # three quarters of 1,797
    with pytest.raises(InputError, match=r"holdout: 0\.0 → 0\.25"):
        run(trained, "--holdout", "0.25", "--steps", "13")


@pytest.mark.slow
def test_pmap_trains_the_same_model_up_to_rounding(trained, tmp_path):
    run(tmp_path / "run", "--parallel", "pmap")
    metrics = [
        (w / "metrics.jsonl").read_text().splitlines()[-1] for w in (trained, tmp_path / "run")
    ]
    a, b = (json.loads(line) for line in metrics)
    for name in (
        "generator/loss",
        "discriminator/loss",
        "generator/gradient_norm",
        "generator/sparsity",
    ):
        assert a[name] == pytest.approx(b[name], rel=1e-4)


@pytest.mark.slow
def test_overwrite_starts_over_and_touches_nothing_else(trained, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    (workdir / "notes.txt").write_text("mine")
    run(
        workdir,
        "--overwrite",
        "--no-resume",
        "--seed",
        "1",
        "--steps",
        "4",
        "--checkpoint-every",
        "4",
    )
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["4"]
    assert (workdir / "notes.txt").read_text() == "mine"
    run(workdir, "--overwrite", "--no-resume")
    assert digest(workdir) == digest(trained)


@pytest.mark.slow
def test_samples_are_the_same_for_every_count_and_form(trained, tmp_path, capsys):
    def draw(output, *more):
        assert (
            sample.main(["--workdir", str(trained), "--output", str(tmp_path / output), *more]) == 0
        )

    draw("a.npz", "--count", "5", "--seed", "3")
    draw("b.npz", "--count", "200", "--seed", "3")
    draw("c.npz", "--count", "5", "--seed", "4")
    draw("folder", "--count", "5", "--seed", "3")
    draw("grid.png", "--count", "6", "--columns", "3")
    images = {name: np.load(tmp_path / f"{name}.npz")["images"] for name in "abc"}
    assert images["b"].shape == (200, 8, 8, 1)
    assert images["b"].dtype == np.uint8
    np.testing.assert_array_equal(images["a"], images["b"][:5])
    assert not np.array_equal(images["a"], images["c"])
    saved = [pixels_of(p) for p in sorted((tmp_path / "folder").iterdir())]
    np.testing.assert_array_equal(saved, images["a"][..., 0])
    height, width = pixels_of(tmp_path / "grid.png").shape
    assert width > height > 2 * 64
    assert "of step 12" in capsys.readouterr().out


def test_the_grids_are_of_one_size_and_change_with_training(trained):
    grid = pixels_of(trained / "samples" / "step_000012.png")
    first = pixels_of(trained / "samples" / "step_000000.png")
    assert grid.shape == first.shape
    assert not np.array_equal(grid, first)


DCGAN = (
    "--steps 2 --log-every 2 --sample-every 2 --checkpoint-every 2 --batch-size 8 "
    "--model.channels 2 "
    "--data.image-size 16"
).split()


@pytest.mark.slow
def test_celeba_trains_from_a_folder(tmp_path):
    folder = faces(tmp_path / "images", side=200)
    run(tmp_path / "run", "--data", "image", "--data.path", folder, config="celeba", flags=DCGAN)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"] | {"path": ""} == {
        "kind": "ImageData", "path": "", "image_size": 16, "channels": 3, "crop": 178,
        "subfolder": "",
        "on_error": "stop", "labels": "auto", "most_pixels": 2**26,
    }  # fmt: skip


@pytest.mark.slow
def test_faces_trains_from_a_tar_and_resumes_from_the_folder_it_was_packed_from(tmp_path):
    folder = faces(tmp_path / "images")
    with tarfile.open(tmp_path / "images.tar.xz", "w:xz") as tar:
        for path in sorted(folder.iterdir()):
            info = tarfile.TarInfo(path.name)
            info.size = path.stat().st_size
            tar.addfile(info, io.BytesIO(path.read_bytes()))
    run(tmp_path / "run", "--data.path", tmp_path / "images.tar.xz", config="faces", flags=DCGAN)
    run(tmp_path / "run", "--data.path", folder, "--steps", 3, config="faces", flags=DCGAN)
    assert (tmp_path / "run" / "checkpoints" / "3").is_dir()


def test_training_that_is_not_finite_stops_with_what_to_try(tmp_path, capsys):
    arguments = ["--workdir", str(tmp_path / "run"), *TINY, "--generator.learning-rate", "1e38"]
    assert train.main([*arguments, "--discriminator.learning-rate", "1e38", "--steps", "200"]) == 1
    output = capsys.readouterr().out
    assert "smaller --generator.learning-rate" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_one_image_trains_though_it_has_no_kernel_distance(tmp_path):
    folder = faces(tmp_path / "images", count=1, side=16)
    flags = [
        "--data",
        "image",
        "--data.path",
        folder,
        "--data.image-size",
        "16",
        "--data.channels",
        "1",
    ]
    run(tmp_path / "run", *flags)
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["kernel_distance"] is None


def test_a_run_that_lost_its_checkpoints_says_that_it_starts_over(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    run(tmp_path / "run")
    assert "no good checkpoint: starting from step 0" in capsys.readouterr().out
    assert digest(tmp_path / "run") == digest(trained)


def test_what_the_disk_refuses_is_one_sentence(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("l1jax.training.log.save_image", full)
    with pytest.raises(
        InputError, match=r"could not be written \(No space left on device\).*intact"
    ):
        run(tmp_path / "run")


DEAD = ["the generator are zero", "no longer depend on the latents"]
FAR_TOO_STRONG = {
    "generator": (["--generator.penalty.strength", "1e10"], DEAD),
    "discriminator": (["--discriminator.penalty.strength", "1e10"], ["the discriminator are zero"]),
    "rate": (["--generator.learning-rate", "1e10", "--generator.penalty.strength", "1"], DEAD),
}


@pytest.mark.parametrize(
    "what",
    [
        "generator",
        pytest.param("discriminator", marks=pytest.mark.slow),
        pytest.param("rate", marks=pytest.mark.slow),
    ],
)
def test_networks_of_nothing_but_zeros_are_told_at_the_next_line(what, tmp_path, capsys):
    flags, words = FAR_TOO_STRONG[what]
    run(tmp_path / "run", "--sample-every", "1000", "--steps", "4", *flags)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step 4: ")]
    assert [sum(own in line for line in told) for own in words] == [1] * len(words)


OTHER_TASKS = {
    "vae": "--config vae_digits --batch-size 16 --model.latent-size 4 --model.hidden 8".split(),
    "dense": (
        "--config dense_generator --data digits --batch-size 16 --model.latent-size 4 "
        "--model.hidden 8"
    ).split(),
}


@pytest.mark.parametrize("task", [pytest.param("vae", marks=pytest.mark.slow), "dense"])
def test_so_are_those_of_other_tasks(task, tmp_path, capsys):
    arguments = [
        *OTHER_TASKS[task],
        "--workdir",
        str(tmp_path / "run"),
        "--steps",
        "2",
        "--log-every",
        "2",
    ]
    assert (
        train.main([*arguments, "--generator.penalty.strength", "1e10", "--sample-every", "1000"])
        == 0
    )
    output = capsys.readouterr().out
    assert "step 2: all penalised parameters of the generator are zero" in output
    assert "step 2: the generated images no longer depend on the latents" in output


@pytest.mark.slow
def test_a_run_of_a_relative_path_can_be_gone_on_with_and_looked_at_from_elsewhere(
    tmp_path, monkeypatch
):
    faces(tmp_path / "images", count=20, side=16)
    faces(tmp_path / "others", count=18, side=16)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    flags = (
        *TINY,
        "--data",
        "image",
        "--data.image-size",
        "16",
        "--data.channels",
        "1",
        "--data.path",
    )

    def kept():
        return json.loads((tmp_path / "run" / "config.json").read_text())["data"]["path"]

    run("run", "images", flags=flags)
    assert kept() == str(tmp_path / "images")
    run("run", "images", "--steps", "13", flags=flags)
    monkeypatch.chdir(tmp_path / "elsewhere")
    run("../run", "../images", "--steps", "14", "--data.on-error", "skip", flags=flags)
    assert kept() == str(tmp_path / "images")
    with pytest.raises(InputError, match="`data` has changed"):
        run("../run", "../others", "--steps", "15", flags=flags)
    assert kept() == str(tmp_path / "images")


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_no_training(trained, tmp_path, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "argv", ["l1jax.train", "--workdir", str(tmp_path / "run"), *TINY])
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        with pytest.raises(SystemExit) as stopped:
            process.run_command(train.main, "training goes on")
    assert stopped.value.code == 0
    assert capsys.readouterr().err == "standard output is lost (Broken pipe); training goes on.\n"
    assert digest(tmp_path / "run") == digest(trained)
