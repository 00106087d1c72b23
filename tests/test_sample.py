"""What a name of an output means, and that it appears whole or not at all."""

import resource
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from generators import experiment, generator
from PIL import Image

from l1jax import sample
from l1jax.cli.sample_checks import check_mixes_classes
from l1jax.config import InputError
from l1jax.files import atomic_folder
from l1jax.models import Network
from l1jax.reporting import image_grid
from l1jax.reporting.rows import TITLE_HEIGHT
from l1jax.serialization.loaded_generator import from_exported
from l1jax.serialization.model_folder import read_model, write_model
from l1jax.training.keys import named_seed_key
from l1jax.training.state import Average

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Generators of images, of points, and of images of three classes."""
    root = tmp_path_factory.mktemp("models")
    write_model(root / "images", generator("mlp"), experiment("mlp"), 7, {})
    write_model(root / "points", generator("points"), experiment("points"), 7, {})
    write_model(root / "classes", generator("mlp", 3), experiment("mlp", 3), 7, {})
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def draw(models, output, *more, kind="images"):
    return sample.main([f"--model={models / kind}", "--count=3", f"--output={output}", *more])


@pytest.mark.parametrize(
    "output", ["samples-0.003", "v1.0", "v1.0/", "grid.png/", "run.final/", ".hidden", "a.5e"]
)
def test_a_dot_makes_no_suffix_unless_a_letter_follows(models, output, capsys):
    assert draw(models, output) == 0
    assert sorted(path.name for path in Path(output).iterdir()) == [
        "00000.png",
        "00001.png",
        "00002.png",
    ]
    assert f"3 images of step 7: {Path(output)}/" in capsys.readouterr().out
    assert [path.name for path in Path().iterdir()] == [Path(output).name]


def test_files_and_folders_hold_the_same_images(models):
    for output in ("images.npz", "folder", "GRID.PNG"):
        assert draw(models, output) == 0
    wanted = np.load("images.npz")["images"]
    for image, own in zip(wanted, sorted(Path("folder").iterdir()), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(own)), image[..., 0])
    with Image.open("GRID.PNG") as grid:
        assert grid.size[0] > 64


@pytest.mark.parametrize("output", ["grid.jpg", "run.final", "images.npy"])
def test_another_formats_suffix_is_refused(models, output):
    with pytest.raises(InputError, match=r"must end in \.png or \.npz, or in / for a folder"):
        draw(models, output)
    Path(output).mkdir()
    assert draw(models, output) == 0  # a folder that is there is one, whatever its name


def test_points_have_no_folder(models):
    with pytest.raises(InputError, match="points have no picture each"):
        draw(models, "samples-0.003", kind="points")
    assert draw(models, "points.npz", kind="points") == 0


@pytest.mark.parametrize(
    ("output", "limit"), [("folder", 60), ("grid.png", 60), ("images.npz", 60)]
)
def test_a_full_disk_leaves_nothing(models, output, limit):
    draw(models, output)  # compiles, and whatever else writes files
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    other = f"other-{output}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(
            InputError, match=rf"`--output` \(={other}\) must be writable: File too large"
        ):
            draw(models, other)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_a_folder_that_was_killed_can_be_drawn_again(models):
    Path(".samples.abcdefgh.partial").mkdir()
    Path(".samples.abcdefgh.partial/00000.png").write_bytes(b"half")
    assert draw(models, "samples") == 0
    assert [path.name for path in Path().iterdir()] == ["samples"]
    with pytest.raises(InputError, match="must be a new or an empty folder"):
        draw(models, "samples")
    with atomic_folder(Path("more")) as partial:
        assert draw(models, "more") == 0  # another process is at it too
        assert partial.is_dir()
        Path("more/00000.png").rename("kept.png")
        for own in Path("more").iterdir():
            own.unlink()


def rows(models, *flags, kind="classes"):
    """Images of rows, as an archive has them, and their labels."""
    flags = [f"--model={models / kind}", "--output=rows.npz", *flags]
    assert sample.main(flags) == 0
    archive = np.load("rows.npz")
    return archive["images"].astype(float), archive.get("labels")


def drawn_by_numpy(latents, label):
    """What the generator of three classes gives, from its kernels, for classes or their weights."""
    own = generator("mlp", 3)
    weights = label if np.ndim(label) == 2 else np.eye(3)[label]
    x = np.concatenate([latents, weights], axis=1)
    for name in ("hidden_0", "hidden_1"):
        x = x @ np.asarray(own.params[name]["kernel"]) + np.asarray(own.params[name]["bias"])
        x = np.where(x > 0, x, 0.2 * x)
    x = np.tanh(x @ np.asarray(own.params["image"]["kernel"]) + own.params["image"]["bias"])
    return 127.5 * (x + 1).reshape(-1, 8, 8, 1)


def latents_of(seed, count, name="sample"):
    """Standard normal latents of a seed."""
    keys = [jax.random.fold_in(named_seed_key(seed, name), i) for i in range(count)]
    return np.stack([jax.random.normal(key, (1, 6))[0] for key in keys]).astype(float)


@pytest.mark.slow
def test_truncated_latents_are_within_their_bound(models):
    images, labels = rows(models, "--count=6", "--seed=3", "--truncation=0.4")
    quantiles = scipy.stats.norm.cdf(latents_of(3, 6))
    latents = scipy.stats.truncnorm(-0.4, 0.4).ppf(quantiles)
    np.testing.assert_array_equal(labels, [0, 1, 2, 0, 1, 2])
    np.testing.assert_allclose(images, drawn_by_numpy(latents, labels), atol=0.51)
    np.testing.assert_array_equal(
        rows(models, "--count=2", "--seed=3", "--truncation=0.4")[0], images[:2]
    )


@pytest.mark.slow
def test_interpolations_go_from_a_seeds_images_along_the_arc(models, capsys):
    images, labels = rows(models, "--interpolate=4", "--frames=5", "--seed=3")
    assert "20 images in 4 rows from one latent to another, of step 7: rows.npz" in (
        capsys.readouterr().out
    )
    np.testing.assert_array_equal(labels, np.repeat([0, 1, 2, 0], 5))
    start, end = latents_of(3, 4), latents_of(3, 4, "interpolation")
    lengths = np.linalg.norm([start, end], axis=-1, keepdims=True)
    angle = np.arccos(np.sum(start / lengths[0] * (end / lengths[1]), -1, keepdims=True))
    ways = []
    for t in np.linspace(0, 1, 5):
        arc = np.sin((1 - t) * angle) * start / lengths[0] + np.sin(t * angle) * end / lengths[1]
        ways.append(((1 - t) * lengths[0] + t * lengths[1]) * arc / np.sin(angle))
    latents = np.stack(ways, axis=1).reshape(20, 6)
    np.testing.assert_allclose(images, drawn_by_numpy(latents, labels), atol=0.51)
    fixed, labels = rows(models, "--interpolate=2", "--frames=5", "--seed=3", "--class=1")
    np.testing.assert_array_equal(labels, np.ones(10))
    np.testing.assert_array_equal(fixed[5:], images[5:10])


@pytest.mark.slow
def test_rows_go_from_class_to_class_between_the_images_of_both(models, capsys):
    flags = ["--interpolate=2", "--frames=5", "--seed=3", "--class=2", "--to-class=0"]
    images, _ = rows(models, *flags)
    assert "10 images in 2 rows to class 0, of step 7: rows.npz" in capsys.readouterr().out
    weights = np.load("rows.npz")["class_weights"]
    expected = np.linspace([0, 0, 1], [1, 0, 0], 5)
    np.testing.assert_array_equal(weights, np.tile(expected, (2, 1)))
    latents = np.repeat(latents_of(3, 2), 5, axis=0)
    np.testing.assert_allclose(images, drawn_by_numpy(latents, weights), atol=0.51)
    for frame, label in ((0, 2), (4, 0)):
        plain, _ = rows(models, "--count=2", "--seed=3", f"--class={label}")
        np.testing.assert_array_equal(images[frame::5], plain)


def test_what_takes_whole_classes_only_goes_to_no_other(models):
    own = from_exported(read_model(models / "classes"))

    def looks_up(params, statistics, latents, train, label):
        assert jnp.issubdtype(label.dtype, jnp.integer)
        return own.generator.network.apply(params, statistics, latents, train, label)

    def rounds(params, statistics, latents, train, label):
        if label.ndim == 2:
            label = label[:, 0].astype(int)
        return own.generator.network.apply(params, statistics, latents, train, label)

    check_mixes_classes(own, 1)
    for apply in (looks_up, rounds):
        foreign = own.generator._replace(network=Network(own.generator.network.init, apply))
        with pytest.raises(InputError, match=r"`--to-class` \(=1\) must be left out: .* whole"):
            check_mixes_classes(own._replace(generator=foreign), 1)
    with pytest.raises(InputError, match="must be left out: this generator takes whole classes"):
        check_mixes_classes(own._replace(average=Average({}, {})), 1)


def test_directions_are_the_first_kernels_and_each_has_its_rows(models, capsys):
    images, labels = rows(models, "--directions=2", "--count=3", "--frames=3", "--reach=2")
    kernel = np.asarray(generator("mlp", 3).params["hidden_0"]["kernel"], float)[:6]
    vectors, scales, _ = np.linalg.svd(kernel)
    shown = ", ".join(f"{scale:.3g}" for scale in scales[:2])
    assert f"along the 2 strongest of 6 directions (scales {shown})" in capsys.readouterr().out
    np.testing.assert_array_equal(labels, np.tile(np.repeat([0, 1, 2], 3), 2))
    latents = []
    for vector in vectors.T[:2]:
        upwards = vector * np.sign(vector[np.abs(vector).argmax()])
        for latent in latents_of(0, 3):
            latents += [latent - 2 * upwards, latent, latent + 2 * upwards]
    np.testing.assert_allclose(images, drawn_by_numpy(np.stack(latents), labels), atol=0.51)


@pytest.mark.parametrize("name", ["moves.gif", "moves.webp"])
def test_rows_move_to_their_end_and_back(models, name):
    flags = ["--interpolate=3", "--frames=4"]
    images, _ = rows(models, *flags, kind="images")
    assert draw_rows(models, name, *flags) == 0
    with Image.open(name) as moving:
        assert getattr(moving, "n_frames", 1) == 6
        assert moving.info["loop"] == 0
        for number, frame in enumerate([0, 1, 2, 3, 2, 1]):
            moving.seek(number)
            wanted = image_grid(images[frame::4].astype(np.uint8))
            shown = np.asarray(moving.convert("L"), float)
            assert moving.info["duration"] == 50
            assert np.abs(shown - np.asarray(wanted, float)).max() <= 2


def draw_rows(models, output, *more, kind="images"):
    return sample.main([f"--model={models / kind}", f"--output={output}", *more])


@pytest.mark.slow
def test_a_picture_has_a_row_of_each_latent_below_its_directions_title(models):
    assert draw_rows(models, "ways.png", "--interpolate=2", "--frames=4") == 0
    assert draw_rows(models, "along.png", "--directions=3", "--count=2", "--frames=4") == 0
    assert draw_rows(models, "narrow.png", "--directions=1", "--frames=2") == 0
    shapes, pictures = {}, {}
    for name in ("ways", "along", "narrow"):
        with Image.open(f"{name}.png") as picture:
            shapes[name] = picture.size
            pictures[name] = np.asarray(picture)
    assert shapes["ways"] == (4 * 68 + 4, 2 * 68 + 4)
    assert shapes["along"] == (4 * 68 + 4, 3 * (2 * 68 + 4 + TITLE_HEIGHT))
    assert shapes["narrow"][0] > 2 * 68 + 4  # its title is wider
    for group in np.split(pictures["along"], 3):
        assert (group[:TITLE_HEIGHT] < 128).any()
        assert (group[TITLE_HEIGHT : TITLE_HEIGHT + 4] == 255).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--truncation=0"], r"`--truncation` \(=0.0\) must be greater than 0 and finite"),
        (["--truncation=nan"], r"`--truncation` \(=nan\) must be greater than 0"),
        (["--interpolate=0"], r"`--interpolate` \(=0\) must be at least 1"),
        (["--directions=0"], r"`--directions` \(=0\) must be at least 1"),
        (["--interpolate=2", "--frames=1"], r"`--frames` \(=1\) must be at least 2"),
        (["--directions=2", "--reach=-1"], r"`--reach` \(=-1.0\) must be greater than 0"),
        (["--interpolate=2", "--directions=2"], "are two pictures: give one of them"),
        (["--interpolate=2", "--count=3"], r"`--count` \(=3\) must be left out: `--interpolate`"),
        (["--interpolate=2", "--columns=3"], r"`--columns` \(=3\) must be left out: `--frames`"),
        (["--interpolate=2", "--reach=2"], r"`--reach` \(=2.0\) is for --directions"),
        (["--frames=4"], r"`--frames` \(=4\) is for --interpolate and --directions"),
        (["--output=a.gif"], r"\(=a.gif\) is for images that move: give --interpolate 8"),
        (["--interpolate=2", "--output=a.mp4"], r"\(=a.mp4\) must end in .gif or .webp, which"),
        (["--interpolate=2", "--to-class=1"], r"`--to-class` \(=1\) must be left out: the gene"),
        (["--to-class=1"], r"`--to-class` \(=1\) is for --interpolate, whose rows it leads"),
        (
            ["--interpolate=2", "--class=1", "--to-class=1"],
            r"`--to-class` \(=1\) must be another class than --class, where",
        ),
        (["--directions=7"], r"`--directions` \(=7\) must be at most 6, the size of the latents"),
    ],
)
def test_rows_that_cannot_be_drawn_are_refused(models, flags, message):
    with pytest.raises(InputError, match=message):
        sample.main([f"--model={models / 'images'}", *flags])


def test_a_program_tells_no_directions(models):
    own = from_exported(read_model(models / "images"))
    program = own._replace(average=Average({}, {}))  # holds its weights itself
    with pytest.raises(InputError, match=r"`--directions` \(=2\) needs the weights, and a program"):
        sample.find_directions(program, 2)


def test_points_do_not_move_but_lie_on_ways(models):
    with pytest.raises(InputError, match="points have no picture each"):
        draw_rows(models, "a.gif", "--interpolate=2", kind="points")
    assert draw_rows(models, "a.png", "--interpolate=2", kind="points") == 0
    with Image.open("a.png") as plot:
        assert plot.size == (600, 600)
