"""Show a page to play with a generator: `python -m l1jax.demo --model FOLDER`.

It needs the extra `demo`.
"""

from l1jax.cli.early_answers import answer_early, check_model_flags
from l1jax.cli.options import DemoOptions

if __name__ == "__main__":
    answer_early(check_model_flags(DemoOptions, "python -m l1jax.demo"))


import importlib
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped
from PIL import Image

from l1jax import config
from l1jax.cli.flag_errors import translate_errors
from l1jax.cli.flags import parse, parse_optional_path
from l1jax.cli.process import run_command
from l1jax.config import InputError
from l1jax.models.latents import slerp, truncate
from l1jax.reporting import sample_picture
from l1jax.reporting.sound import join_clips, make_sounds
from l1jax.serialization.loaded_generator import LoadedGenerator, check_drawn, open_generator
from l1jax.serving import listen, serve_page
from l1jax.terminal import make_console, make_say
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler

COUNT = 16  # images on the page
REPEATS = 5  # of which the median time is told
WIDEST = 4.0  # standard deviations; nearly no latent has an entry beyond
Latents = Float[Array, "count latent"]
Images = Shaped[np.ndarray, "count height width channels"]


class Player(NamedTuple):
    """A generator, compiled once for all the page's images."""

    opened: LoadedGenerator
    draw: Callable[..., Any]


class Drawn(NamedTuple):
    """A picture of images, how long they took, and their sound if they are spectrograms."""

    picture: Image.Image
    milliseconds: float
    sound: tuple[int, np.ndarray] | None = None
    """Samples per second, and samples of 16 bits: one clip after the other."""


@translate_errors(DemoOptions)
def main(arguments: Sequence[str]) -> int:
    """Serve the page until it is stopped; returns the exit status."""
    options = parse(DemoOptions, arguments, "python -m l1jax.demo")
    workdir = parse_optional_path("--workdir", options.workdir)
    model = parse_optional_path("--model", options.model)
    dense = parse_optional_path("--dense", options.dense)
    if not 0 <= options.port < 2**16:
        raise InputError(f"`--port` (={options.port}) must be at least 0 and below 65536.")
    say = make_say(make_console())

    with closing(listen(options.host, options.port)) as listening:
        players = open_players(workdir, model, dense, say)
        gradio = load_gradio()
        serve_page(gradio, make_page(gradio, players), listening, say)
    return 0


def open_players(
    workdir: Path | None, model: Path | None, dense: Path | None, say: Callable[[str], None]
) -> dict[str, Player]:
    """Open the generators of the page, by their titles.

    Args:
        workdir: the run whose generator is shown, or None.
        model: the folder whose generator is shown, or None.
        dense: a run to compare with, or None.
        say: called with one sentence at a time.

    Raises:
        InputError: if one cannot be opened, or they cannot be shown the same latents and classes.
    """
    command = "python -m l1jax.demo"
    players = {}
    if dense is not None:
        with translate_errors(DemoOptions, {"--workdir": "--dense"}):
            players["dense"] = player(open_generator(dense, None, None, say, command))
    own = player(open_generator(workdir, model, None, say, command))
    players["generator" if dense is None else "compact"] = own
    refuse_unlike(players, dense)
    return players


def player(opened: LoadedGenerator) -> Player:
    """Make a generator ready to play with."""
    sampler = make_sampler(opened.generator)

    def draw(latents: Latents, label: Array | None) -> Any:
        return sampler(opened.average, latents, label)

    # The first call compiles.
    latents = draw_latents(opened.generator, named_seed_key(0, "demo"), COUNT)
    images = draw(latents, None)
    check_drawn(opened, images)
    return Player(opened, draw)


def refuse_unlike(players: Mapping[str, Player], dense: Path | None) -> None:
    """Refuse generators that cannot be shown the same latents and classes.

    Raises:
        InputError: if they differ in the size of their latents or their classes.
    """
    sizes = {
        (own.opened.generator.latent_size, own.opened.generator.classes) for own in players.values()
    }
    if len(sizes) > 1:
        raise InputError(
            f"`--dense` (={dense}) must have latents and classes as many as --model: "
            f"{sorted(sizes)}."
        )


def images_of(
    own: Player, seed: int, other_seed: int, position: float, largest: float, label: int | None
) -> Drawn:
    """Draw images of latents between those of two seeds.

    Args:
        own: the generator.
        seed: of the latents at position 0, the first ones that l1jax.sample draws from this seed.
        other_seed: of those at position 1.
        position: between them.
        largest: entry of a latent; `WIDEST` leaves them as they are drawn.
        label: class of all images; None for the classes in turn.
    """
    generator = own.opened.generator
    start, stop = (
        draw_latents(generator, named_seed_key(s, "sample"), COUNT) for s in (seed, other_seed)
    )
    latents = start
    if position:
        latents = slerp(start, stop, position)
    if largest < WIDEST:
        latents = truncate(latents, largest)
    labels = None
    if label is not None:
        labels = jnp.full(COUNT, label)
    images = None
    times = []
    for _ in range(REPEATS):
        before = time.perf_counter()
        images = own.draw(latents, labels)
        times.append(time.perf_counter() - before)
    assert images is not None
    milliseconds = 1e3 * statistics.median(times)
    return Drawn(sample_picture(images, columns=4), milliseconds, sound_of(own, images))


def sound_of(own: Player, images: Images) -> tuple[int, np.ndarray] | None:
    """Make the sound of spectrograms as gradio plays it; None if they are other images."""
    data = own.opened.experiment.data
    if not isinstance(data, config.Sound):
        return None
    sounds = make_sounds(images, data)
    return sounds.sample_rate, np.rint(32767 * join_clips(sounds)).astype(np.int16)


def load_gradio() -> Any:
    """Import gradio, told to call nobody.

    Raises:
        MissingExtraError: if it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    return importlib.import_module("gradio")


def make_update(
    players: Mapping[str, Player], refusal: Callable[[str], Exception]
) -> Callable[..., list[Any]]:
    """Build what draws the page anew from the values of its controls.

    Numbers come as JSON has them: whole ones as integers, and None from a field that was emptied.

    Args:
        players: the generators, by their titles.
        refusal: makes of a sentence the error that the page shows.
    """
    classes = [str(label) for label in range(next(iter(players.values())).opened.generator.classes)]

    def update(
        seed: float | int | None,
        other: float | int | None,
        position: float | int | None,
        largest: float | int | None,
        label: str | None,
    ) -> list[Any]:
        between = float(position or 0)
        first = int(seed or 0)
        second = int(other or 0)
        bound = WIDEST
        if largest is not None:
            bound = float(largest)
        chosen = None
        if label in classes:
            chosen = int(label)
        for value in (first, second):
            if not 0 <= value < 2**32:
                raise refusal(f"A seed (={value}) must be at least 0 and below 2**32.")
        drawn = [images_of(own, first, second, between, bound, chosen) for own in players.values()]
        return [part for own in drawn for part in shown(own)]

    return update


def make_page(gradio: Any, players: Mapping[str, Player]) -> Any:
    """Lay out the page."""
    generator = next(iter(players.values())).opened.generator
    classes = [str(label) for label in range(generator.classes)]

    def refusal(text: str) -> Exception:
        return gradio.Error(text, print_exception=False)

    update = make_update(players, refusal)
    with gradio.Blocks(title="l1jax", analytics_enabled=False, delete_cache=(600, 600)) as page:
        with gradio.Row():
            seed = gradio.Number(0, label="from seed", precision=0)
            other = gradio.Number(1, label="to seed", precision=0)
            label = gradio.Dropdown(
                ["in turn", *classes], value="in turn", label="class", visible=bool(classes)
            )
        position = gradio.Slider(0, 1, value=0, step=0.01, label="interpolation")
        largest = gradio.Slider(
            0.1, WIDEST, value=WIDEST, step=0.1, label="truncation (largest entry of a latent)"
        )
        outputs = []
        with gradio.Row():
            for name, own in players.items():
                with gradio.Column():
                    gradio.Markdown(f"### {name}, step {own.opened.step:,}")
                    shown = {"format": "png", "interactive": False, "buttons": ["download"]}
                    outputs.append(gradio.Image(label=name, **shown))
                    outputs.append(gradio.Markdown())
                    if isinstance(own.opened.experiment.data, config.Sound):
                        title = f"{name}, one clip after the other"
                        outputs.append(gradio.Audio(label=title, interactive=False))
        inputs = [seed, other, position, largest, label]
        page.load(update, inputs, outputs, show_progress="hidden", api_name="draw")
        for component in inputs:
            component.change(
                update, inputs, outputs, show_progress="hidden", trigger_mode="always_last"
            )
    return page


def shown(drawn: Drawn) -> list[Any]:
    """Return what the page shows of a generator: picture, caption, and sound if there is any."""
    parts: list[Any] = [drawn.picture, caption(drawn)]
    if drawn.sound is not None:
        parts.append(drawn.sound)
    return parts


def caption(drawn: Drawn) -> str:
    """How long the images took."""
    return f"{COUNT} images in {drawn.milliseconds:.1f} ms on {jax.devices()[0].device_kind}"


if __name__ == "__main__":
    run_command(main)
