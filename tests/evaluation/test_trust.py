"""What is said of numbers that are not to be trusted, and of images that are plainly bad."""

from l1jax.evaluation.trust import verdicts, warnings_of

GOOD = {
    "dimensions": 64,
    "coverage": {"mean": 0.9},
    "near_copies": {"mean": 0.01},
    "real_against_real": {"coverage": 0.97},
}


def test_good_images_of_enough_number_need_no_words():
    assert verdicts({"pixels": GOOD}) == []
    assert warnings_of({"pixels": GOOD}, 1_000, 700) == []


def test_noise_and_copies_are_named():
    noise = GOOD | {"coverage": {"mean": 0.01}}
    (said,) = verdicts({"pixels": GOOD, "random": noise})
    assert said.startswith("the generated images are unlike the real ones")
    assert "random (0.01, of real ones 0.97)" in said
    assert "pixels" not in said
    (said,) = verdicts({"pixels": GOOD | {"near_copies": {"mean": 1.0}}})
    assert "copies of training images" in said
    assert "pixels (100%)" in said


def test_too_few_images_and_classes_are_named():
    features = {"pixels": GOOD, "classifier": GOOD | {"classes": 2}}
    sentences = warnings_of(features, 1_000, 50)
    assert "pixels (640)" in sentences[0]
    assert "only 2 classes" in sentences[1]
    assert "one image is 2.0% of them" in sentences[2]
