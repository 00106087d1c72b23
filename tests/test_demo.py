"""The page: where latents lead, what it serves, and that it listens to this machine alone."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from absent import hide
from generators import experiment, generator, write_sound_model

from l1jax import demo
from l1jax.config import InputError
from l1jax.demo import images_of, player
from l1jax.extras import MissingExtraError
from l1jax.reporting import sample_picture
from l1jax.serialization.loaded_generator import from_exported
from l1jax.serialization.model_folder import read_model, write_model
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler

pytestmark = pytest.mark.usefixtures("one_device")

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models, one of them conditional."""
    root = tmp_path_factory.mktemp("models")
    write_model(root / "mlp", generator("mlp", 3), experiment("mlp", 3), 7, {})
    write_model(root / "dcgan", generator("dcgan", 3), experiment("dcgan", 3), 9, {})
    write_model(root / "points", generator("points"), experiment("points"), 1, {})
    write_sound_model(root / "sound")
    own = generator("mlp", 3)
    bias = jnp.full_like(own.params["hidden_0"]["bias"], jnp.nan)
    params = own.params | {"hidden_0": own.params["hidden_0"] | {"bias": bias}}
    write_model(root / "nan", own._replace(params=params), experiment("mlp", 3), 7, {})
    return root


@pytest.mark.slow
def test_the_first_picture_is_what_sample_draws(folders):
    own = player(from_exported(read_model(folders / "mlp")))
    latents = draw_latents(own.opened.generator, named_seed_key(5, "sample"), 16)
    for label in (None, 2):
        labels = None if label is None else jnp.full(16, label)
        wanted = make_sampler(own.opened.generator)(own.opened.average, latents, labels)
        drawn = images_of(own, 5, 6, 0.0, demo.WIDEST, label)
        assert drawn.picture == sample_picture(wanted, columns=4)
        assert drawn.milliseconds > 0
    end, start = (
        images_of(own, 5, 6, 1.0, demo.WIDEST, 2),
        images_of(own, 6, 5, 0.0, demo.WIDEST, 2),
    )
    difference = np.abs(np.asarray(end.picture, float) - np.asarray(start.picture, float))
    assert difference.max() <= 2


@pytest.mark.slow
def test_truncated_images_are_more_alike(folders):
    own = player(from_exported(read_model(folders / "mlp")))
    spread = [
        np.asarray(images_of(own, 5, 6, 0.0, z, 2).picture, float) for z in (0.1, demo.WIDEST)
    ]
    cells = [
        np.stack([row[:, 4:68] for row in np.split(p[4:276], 4)]).std(axis=0).mean() for p in spread
    ]
    assert cells[0] < 0.5 * cells[1]


@pytest.mark.slow
def test_spectrograms_are_heard(folders):
    players = {"generator": player(from_exported(read_model(folders / "sound")))}
    picture, caption, (rate, samples) = demo.make_update(players, ValueError)(0, 1, 0, 4, "1")
    assert picture.size[0] > 64
    assert "16 images in" in caption
    assert rate == 4000
    assert len(samples) == 16 * 12 * 40 + 15 * 1000
    assert samples.dtype == np.int16
    np.testing.assert_allclose(np.abs(samples[:480]).max(), 0.9 * 32767, atol=1)


@pytest.mark.slow
def test_points_are_plotted(folders):
    assert images_of(
        player(from_exported(read_model(folders / "points"))), 0, 1, 0.5, 1.0, None
    ).picture.size == (600, 600)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing from python -m l1jax.demo: --workdir of a training run, or --model"),
        (["--model=mlp", "--port=65536"], r"`--port` (=65536) must be"),
        (
            ["--model=mlp", "--host=no.such.host.invalid"],
            "`--host` (=no.such.host.invalid) cannot be listened on",
        ),
        (["--model=mlp", "--dense=points"], "must have latents and classes as many as --model"),
        (["--model=mlp", "--dense=nowhere"], "`--dense` (=nowhere) must hold a training run"),
        (["--model=mlp", "--dense="], "`--dense` is empty"),
        (["--model=nan"], "The generator of step 7 has 12 weights that are NaN or infinite"),
    ],
)
def test_wrong_flags_are_refused(folders, monkeypatch, arguments, words):
    monkeypatch.chdir(folders)
    port = [] if any("--port" in argument for argument in arguments) else ["--port=0"]
    with pytest.raises(InputError, match=re.escape(words)):
        demo.main([*arguments, *port])


@pytest.mark.parametrize("largest", [1, 2, 3, 4, 1.5])
def test_whole_numbers_move_the_sliders_too(folders, largest):
    """JSON has no other form for 1.0 than 1, and a field that was emptied sends nothing."""
    update = demo.make_update(
        {"generator": player(from_exported(read_model(folders / "mlp")))}, ValueError
    )
    for position in (0, 1):
        whole = update(3, 4, position, largest, "1")
        precise = update(3.0, 4.0, float(position), float(largest), "1")
        assert whole[0] == precise[0]
    emptied = update(None, None, None, None, None)
    assert emptied[0] == update(0, 0, 0.0, demo.WIDEST, "in turn")[0]
    assert "16 images in" in emptied[1]
    for seeds in ((-4, 0), (0, 2**32)):
        with pytest.raises(
            ValueError, match=r"A seed \(=.*\) must be at least 0 and below 2\*\*32"
        ):
            update(*seeds, 0, largest, None)


def test_a_missing_package_is_told(monkeypatch):
    hide(monkeypatch, "gradio")
    with pytest.raises(MissingExtraError, match=r"needs the package gradio, .* 'l1jax\[demo\]'"):
        demo.load_gradio()


@pytest.fixture(scope="module")
def page(folders):
    """Address of a page that is being served."""
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "l1jax.demo", "--model=mlp", "--dense=dcgan", "--port=0"]
    server = subprocess.Popen(
        command,
        cwd=folders,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        found = re.search(r"the page: (http://127\.0\.0\.1:\d+)/", said)
        assert found, said + server.stdout.read()
        yield found[1]
    finally:
        server.kill()
        server.communicate()


@pytest.mark.slow
def test_the_page_answers(page):
    script = (
        "import sys; from gradio_client import Client; client = Client(sys.argv[1], "
        "verbose=False)\nprint(client.predict(0, 1, 1, 2, '1', api_name='/draw'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, page], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"16 images in [\d.]+ ms on ", done.stdout)) == 2
    assert done.stdout.count(".png'") == 2


if CHROMIUM and importlib.util.find_spec("playwright"):  # which no Python package brings

    @pytest.mark.slow
    def test_the_page_in_a_browser(page):
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            view, failures = browser.new_page(), []
            view.on("pageerror", lambda error: failures.append(str(error)))
            view.goto(page)
            view.get_by_text("16 images in").nth(1).wait_for(timeout=60_000)
            for text in (
                "dense, step 9",
                "compact, step 7",
                "truncation",
                "interpolation",
                "class",
                "from seed",
            ):
                assert view.get_by_text(text).first.is_visible(), text
            before = [
                view.locator(".image-container img, .image-frame img").nth(i).get_attribute("src")
                for i in (0, 1)
            ]
            view.locator("input[type=range]").first.fill("0.5")
            changed = "before => ![...document.images].some(image => before.includes(image.src))"
            view.wait_for_function(changed, arg=before, timeout=60_000)
            assert all(before)
            assert not failures
            browser.close()
