"""Small generators of every family, with random parameters of which whole channels are zero."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from l1jax.models import dcgan, dense_generator, mlp_gan, r3gan, sn_resnet, vae

FAMILIES = {
    "mlp": lambda: mlp_gan((4, 3, 1), 8, (9, 11)).generator,
    "mlp with classes": lambda: (
        mlp_gan(
            (4, 3, 2), 7, (10, 8, 9), classes=3, activation="relu", generator_dropout=0.2
        ).generator
    ),
    "dense generator": lambda: dense_generator((3, 4, 1), 9, (12, 10)),
    "dcgan": lambda: dcgan((16, 16, 1), 7, 4).generator,
    "dcgan with classes": lambda: (
        dcgan((10, 10, 2), 7, 6, classes=2, generator_dropout=0.2).generator
    ),
    "sn_resnet": lambda: sn_resnet((32, 32, 1), 6, 5).generator,
    "sn_resnet with classes": lambda: sn_resnet((32, 32, 2), 6, 4, classes=3).generator,
    "r3gan": lambda: r3gan((8, 8, 1), 6, 8, group_size=4, generator_drop_path=0.2).generator,
    "r3gan with classes": lambda: (
        r3gan((10, 10, 2), 5, 6, blocks=2, group_size=3, classes=2).generator
    ),
    "dense vae": lambda: vae((4, 3, 2), 7, (), (9, 8), likelihood="gaussian").generator,
    "vae with classes": lambda: (
        vae((8, 8, 1), 6, (6, 5), (9,), classes=3, decoder_dropout=0.2).generator
    ),
}
FAMILIES = {name: cache(make) for name, make in FAMILIES.items()}


def random_variables(generator, seed, shares, dtype=np.float64):
    """Draw parameters and statistics.

    Each kernel but the last loses one of `shares` of its outputs, inputs, or both.
    """
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(generator.network.init, jax.random.key(0))

    def fill(path, leaf):
        name, layer = path[-1].key, path[-2].key if len(path) > 1 else ""
        values = rng.normal(size=leaf.shape)
        if name == "kernel":
            values /= np.sqrt(np.prod(leaf.shape[:-1]) / 2)
            which = rng.integers(3)
            outputs, inputs = (
                rng.random(n) < rng.choice(shares) for n in (leaf.shape[-1], leaf.shape[-2])
            )
            if which != 1 and layer != "image":
                values[..., outputs] = 0
            if which != 0:
                values[..., inputs, :] = 0
        else:
            values = values * 0.3 + (name == "scale")
        return (np.abs(values) + 0.5 if name == "var" else values).astype(dtype)

    return tuple(jax.tree_util.tree_map_with_path(fill, tree) for tree in shapes)


def arguments(generator, count=6, seed=1):
    """Latents, and labels if it has classes."""
    latents = generator.latents(jax.random.key(seed), count)
    return (
        (latents, False, jnp.arange(count) % generator.classes)
        if generator.classes
        else (latents, False)
    )


@cache
def sampler(generator):
    """Compiled once for each generator."""
    return jax.jit(lambda p, s: generator.network.apply(p, s, *arguments(generator))[0])


def images(generator, params, statistics):
    return sampler(generator)(params, statistics)


def shapes(tree):
    return jax.tree.map(np.shape, tree)


def relative_error(found, expected):
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))
