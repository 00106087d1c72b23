"""Comparing any two sets of images, and files of statistics, by the command and in Python."""

import json
import re
import shutil
import tarfile

import jax
import numpy as np
import pytest
from generators import experiment, generator
from PIL import Image

from l1jax import evaluate, sample
from l1jax.config import InputError
from l1jax.data.source import source_from_arrays
from l1jax.evaluation import frechet_distance, load_statistics
from l1jax.evaluation.features import Extracted, FeatureExtractor, custom_features
from l1jax.image_evaluation import Request, compare
from l1jax.image_evaluation.matching_classes import classes_of_set
from l1jax.image_evaluation.opening import open_set
from l1jax.image_evaluation.paths import add_path_length
from l1jax.image_evaluation.recognise import recognise
from l1jax.image_evaluation.sides import open_side
from l1jax.serialization.model_folder import write_model

pytestmark = pytest.mark.usefixtures("one_device")

RNG = np.random.default_rng(0)
REAL = RNG.integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)
GENERATED = RNG.integers(0, 256, (30, 8, 8, 1)).astype(np.uint8)


def write_folder(folder, images, sides=(8,)):
    """Grey PNG files, whose sides take turns."""
    folder.mkdir()
    for i, image in enumerate(images[..., 0]):
        side = sides[i % len(sides)]
        picture = Image.fromarray(image).resize((side, side))
        picture.save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The real images in all kinds of places, the generated ones, and a model."""
    root = tmp_path_factory.mktemp("images")
    write_folder(root / "folder", REAL)
    with tarfile.open(root / "a.tar", "w") as archive:
        archive.add(root / "folder", "folder")
    np.savez(root / "a.npz", images=REAL)
    np.savez(root / "first.npz", arr_0=REAL / 255)
    np.save(root / "a.npy", REAL)
    header = b"\0\0\x08\3" + b"".join(n.to_bytes(4, "big") for n in (20, 8, 8))
    (root / "t10k-images-idx3-ubyte").write_bytes(header + REAL.tobytes())
    write_folder(root / "generated", GENERATED)
    write_folder(root / "mixed", GENERATED, (8, 9))
    write_folder(root / "larger", GENERATED, (12,))
    write_model(root / "model", generator("mlp"), experiment("mlp"), 7, {})
    return root


@pytest.fixture(autouse=True)
def inside(places, monkeypatch, tmp_path):
    monkeypatch.chdir(places)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def run(*arguments, output="evaluation.json"):
    assert evaluate.main([*arguments, f"--output={output}"]) == 0
    with open(output, encoding="utf-8") as file:
        return json.load(file)


KINDS = {
    "folder": "images",
    "a.tar": "images",
    "a.npz": "arrays",
    "first.npz": "arrays",
    "a.npy": "arrays",
    "t10k-images-idx3-ubyte": "idx file",
}


def test_a_set_is_the_same_wherever_it_lies(places):
    for value, kind in KINDS.items():
        place = recognise("--real", value)
        assert place.kind == kind
        opened = open_set(place, Request(), 0, shuffled=False)
        np.testing.assert_array_equal(opened.pictures.take(range(20)), REAL)
        assert opened.describe().startswith("20 images of ")
    some = open_set(recognise("--real", "folder"), Request(), 7, shuffled=True)
    assert some.describe() == "7 of 20 images of a folder, 8×8, grey"
    np.testing.assert_array_equal(some.pictures.take(range(7)), REAL[some.index])
    assert recognise("--real", "mnist").kind == "tfds"
    assert recognise("--generated", "model").kind == "model"


def test_scores_are_those_of_the_features(places, capsys):
    result = run("--real=folder", "--generated=generated")
    said = capsys.readouterr().out
    assert "real: 20 images of a folder, 8×8, grey" in said
    assert "generated: 30 images of a folder, 8×8, grey" in said
    pixels = [images.reshape(len(images), -1) / 127.5 - 1 for images in (REAL, GENERATED)]
    found = result["features"]["pixels"]["frechet_distance"]["mean"]
    np.testing.assert_allclose(found, frechet_distance(*pixels), rtol=1e-5)
    assert result["protocol"]["settings"]["neighbours"] == 5
    assert "zeros" not in result
    assert "step" not in result


@pytest.mark.parametrize("name", ["samples", "real_samples"])
def test_too_few_images_are_refused_in_python(places, name):
    with pytest.raises(InputError, match=rf"`{name}` \(=3\) must be at least 16, or 0 for all"):
        compare("folder", "model", **{name: 3})


@pytest.mark.slow
def test_statistics_stand_for_their_images(places, capsys):
    of_images = compare("folder", "generated")["features"]
    assert evaluate.main(["--real=folder", "--save-statistics=real.npz"]) == 0
    assert "statistics of pixels, random: real.npz" in capsys.readouterr().out
    assert load_statistics("real.npz")["random"].count == 20
    assert evaluate.main(["--generated=generated", "--save-statistics=generated.npz"]) == 0
    for real, generated in (
        ("real.npz", "generated"),
        ("folder", "generated.npz"),
        ("real.npz", "generated.npz"),
    ):
        found = compare(real, generated)["features"]
        assert found.keys() == {"pixels", "random"}
        for name, scores in found.items():
            expected = of_images[name]["frechet_distance"]["mean"]
            assert scores["frechet_distance"]["mean"] == pytest.approx(expected, rel=1e-6)
    run("--real=real.npz", "--generated=generated")
    assert "Fréchet ↓" in capsys.readouterr().out


def test_statistics_of_other_features_are_refused(places):
    mean = custom_features("means", lambda images: images.mean(axis=(1, 2)))
    other = custom_features("other means", lambda images: images.mean(axis=(1, 2)) + 1)
    np.savez("foreign.npz", mu=np.zeros(1), sigma=np.eye(1))
    found = compare("foreign.npz", "generated", networks={"inception": mean})
    assert list(found["features"]) == ["inception"]
    with pytest.raises(InputError, match=r"holds statistics of inception, .*they must share one"):
        compare("foreign.npz", "generated")
    np.savez("two.npz", mu=np.zeros(2), sigma=np.eye(2))
    with pytest.raises(InputError, match="have 1 and 2 dimensions"):
        compare("foreign.npz", "two.npz")
    with pytest.raises(InputError, match="have 2 and 1 dimensions"):
        compare("two.npz", "generated", networks={"inception": mean})
    np.savez(
        "known.npz",
        mu=np.zeros(1),
        sigma=np.eye(1),
        features=np.array("inception"),
        protocol=np.array("means"),
    )
    assert compare("known.npz", "generated", networks={"inception": mean})
    with pytest.raises(InputError, match=r"another protocol \(means\)"):
        compare("known.npz", "generated", networks={"inception": other})


@pytest.mark.slow
def test_sets_of_other_sizes_are_brought_to_one(places):
    same = compare("folder", "larger", image_size=12)
    assert same["protocol"]["shape"] == [12, 12, 1]
    assert not any("resized" in remark for remark in same.get("remarks", []))
    chosen = compare("folder", "larger")
    assert chosen["protocol"]["shape"] == [12, 12, 1]  # that of the generated images
    assert "resized to 12×12" in chosen["remarks"][0]
    assert compare("folder", "mixed")["protocol"]["shape"] == [8, 8, 1]
    with pytest.raises(InputError, match=r"`generated` \(=mixed\) hold images of several sizes"):
        compare("mixed", "mixed")


def test_features_that_resize_images_see_each_in_its_own_size(places):
    means = FeatureExtractor(
        "means",
        lambda _, x: Extracted(x.mean(axis=(1, 2))),
        prepare=lambda x: jax.image.resize(x.astype(np.float32), (len(x), 4, 4, 1), "nearest"),
    )
    found = compare("mixed", "mixed", networks={"inception": means})
    assert list(found["features"]) == ["inception"]
    assert found["features"]["inception"]["frechet_distance"]["mean"] == pytest.approx(0, abs=1e-6)
    assert "several sizes" in found["remarks"][0]


@pytest.mark.slow
def test_the_images_of_a_model_are_those_that_sample_draws(places, tmp_path):
    images = tmp_path / "images"
    flags = ["--real=folder", "--generated=model", "--samples=16", "--seeds=2"]
    result = run(*flags, f"--save-images={images}", output=tmp_path / "a.json")
    assert result["step"] == 7
    assert result["zeros"]["layers"]
    for seed in (0, 1):
        folder = tmp_path / f"sampled_{seed}"
        sample.main(["--model=model", "--count=16", f"--seed={seed}", f"--output={folder}/"])
        for path in folder.iterdir():
            saved = np.asarray(Image.open(images / f"seed_{seed}" / path.name))
            np.testing.assert_array_equal(saved, np.asarray(Image.open(path)))
    again = compare("folder", images / "seed_1")["features"]
    for name in ("frechet_distance", "recall", "coverage"):
        assert again["pixels"][name]["mean"] == result["features"]["pixels"][name]["each"][1]


def test_an_evaluation_is_repeated_to_the_last_bit_unless_its_images_changed(tmp_path, capsys):
    real = tmp_path / "real"
    shutil.copytree("folder", real)
    flags = [f"--real={real}", "--generated=model", "--samples=16", "--seeds=2"]
    first = run(*flags, output=tmp_path / "first.json")
    assert first["protocol"]["flags"]["real"] == "./real"
    assert run(f"--again={tmp_path / 'first.json'}", output=tmp_path / "second.json") == first
    assert "to the last bit" in capsys.readouterr().out
    path = real / "007.png"
    Image.fromarray(REAL[7, ..., 0] ^ 1).save(path)
    with pytest.raises(InputError, match=r"`--real` is not what .*first.json was of"):
        evaluate.main([f"--again={tmp_path / 'first.json'}"])
    shutil.copy("folder/007.png", path)
    changed = json.loads((tmp_path / "first.json").read_text())
    changed["features"]["pixels"]["recall"]["mean"] += 2**-40
    (tmp_path / "first.json").write_text(json.dumps(changed))
    assert evaluate.main([f"--again={tmp_path / 'first.json'}"]) == 1
    assert "1 number is not that of" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("real", "generated"),
    [
        ("folder", "generated"),
        ("a.npz", "generated.npz"),
        ("first.npz", "generated"),
        ("a.tar", "mixed"),
        ("t10k-images-idx3-ubyte", "generated.npz"),
    ],
)
def test_two_sets_are_scored_again_wherever_they_are_moved_to(
    real, generated, tmp_path, monkeypatch, capsys
):
    """One image of the set that moved is then another."""
    if generated.endswith(".npz"):
        np.savez(tmp_path / generated, arr_0=GENERATED)
    else:
        shutil.copytree(generated, tmp_path / generated)
    file = tmp_path / "first.json"
    first = run(f"--real={real}", f"--generated={tmp_path / generated}", output=file)
    moved = tmp_path / f"moved_{generated}"
    (tmp_path / generated).rename(moved)
    with pytest.raises(InputError, match=f"was of --generated .*{generated}, which does not exist"):
        evaluate.main([f"--again={file}"])
    monkeypatch.chdir(tmp_path)  # the real images' place is kept from the root
    again = run(f"--again={file}", f"--generated={moved}", output=tmp_path / "second.json")
    assert "to the last bit" in " ".join(capsys.readouterr().out.split())
    for part in ("features", "images"):
        assert again[part] == first[part]
    if moved.is_dir():
        next(moved.iterdir()).unlink()
    else:
        changed = GENERATED.copy()
        changed[3, 0, 0] ^= 1
        np.savez(moved, arr_0=changed)
    with pytest.raises(InputError, match=r"`--generated` is not what .*first.json was of"):
        evaluate.main([f"--again={file}", f"--generated={moved}"])


@pytest.mark.slow
def test_the_path_length_of_a_model_is_a_row_of_the_random_convolutions(places):
    found = compare("folder", "model", samples=16, seeds=1, path_length=True)["features"]
    row = found["random"]["path_length"]
    assert row["mean"] > 0 < row["deviation"]
    loaded = open_side(recognise("--generated", "model"), Request(), print).loaded
    assert loaded is not None
    still = jax.tree.map(np.zeros_like, loaded.average)
    scores: dict = {"features": {"random": {}}}
    add_path_length(scores, loaded._replace(average=still), print)
    assert scores["features"]["random"]["path_length"]["mean"] == 0  # one image from all latents


def labelled(labels, *names):
    source = source_from_arrays(REAL[: len(labels)], np.array(labels, np.int32), 8, 1, "")
    return source._replace(classes=names)


def test_classes_are_matched_by_name_or_by_number():
    real = labelled([0, 1, 2, 1], "ant", "bee", "cat")
    names = labelled([1, 0, 1], "ant", "cat")
    said: list[str] = []
    np.testing.assert_array_equal(classes_of_set(real, names, said.append), [2, 0, 2])
    numbers = labelled([2, 0])
    np.testing.assert_array_equal(classes_of_set(real, numbers, said.append), [2, 0])
    assert classes_of_set(real, real._replace(labels=None), said.append) is None
    assert said == []
    unknown = labelled([3])
    assert classes_of_set(real, unknown, said.append) is None
    other = labelled([0], "dog")
    assert classes_of_set(real, other, said.append) is None
    assert "numbers are not the same" in said[0]
    assert "none of the name 'dog'" in said[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--real=folder", "--generated=folder", "--path-length"], "`--path-length` must be left"),
        (
            ["--real=folder", "--generated=folder", "--sampling-steps=2"],
            "`--sampling-steps` must be left",
        ),
        (
            ["--real=folder", "--generated=model", "--method=euler"],
            "`--method` (=euler) is for flow",
        ),
        (["--real=folder"], "Missing from python -m l1jax.evaluate"),
        (["--generated=folder"], "has no real images of its own"),
        (["--real=folder", "--generated=a.npz", "--model=model"], "two sets"),
        (["--real=model", "--generated=folder"], "`--real` (=model) is an exported model"),
        (["--real=nowhere/", "--generated=folder"], "`--real` (=nowhere/) does not exist"),
        (["--real=folder", "--generated=x.zip"], "`--generated` (=x.zip) does not exist"),
        (["--real=empty", "--generated=folder"], "`--real` (='empty') holds no images"),
        (["--real=folder", "--generated=few"], "`--generated` (=few) has 3 images"),
        (["--real=folder", "--generated=dark.npz"], "give --floats unit"),
        (["--real=folder", "--generated=broken.npz"], "`--generated` (='broken.npz')"),
        (["--real=folder", "--generated=names.npz"], "such as --array NAME"),
        (["--real=folder", "--generated=model", "--save-statistics=a.npz"], "one set of images"),
        (["--real=folder", "--model=model", "--path=x"], "`--path` (=x)"),
        (["--real=folder", "--generated=folder", "--image-size=-1"], "`--image-size` (=-1)"),
        (["--real=folder", "--generated=folder", "--real-samples=5"], "`--real-samples` (=5)"),
        (["--real=folder", "--generated=folder", "--save-images=folder"], "`--save-images`"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(places, arguments, words):
    (places / "empty").mkdir(exist_ok=True)
    if not (places / "few").exists():
        write_folder(places / "few", REAL[:3])
    np.savez("dark.npz", images=REAL / 10_000)
    np.savez("names.npz", a=REAL, b=REAL)
    (places / "broken.npz").write_bytes((places / "a.npz").read_bytes()[:300])
    with pytest.raises(InputError) as refusal:
        evaluate.main(arguments)
    assert words in str(refusal.value)
    assert not re.search(r"data\.|\n", str(refusal.value))
