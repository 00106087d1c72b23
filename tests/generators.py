"""One small generator of each family, with weights and statistics that training could have left."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from l1jax.config import (
    Config,
    Dcgan,
    DenseGenerator,
    ImageData,
    MixtureData,
    MlpGan,
    R3gan,
    SnResnet,
    TonesData,
    Vae,
)
from l1jax.models.layout.layout_network import TrainedGenerator
from l1jax.serialization.model_folder import write_model
from l1jax.serialization.rebuild_generator import rebuild

FAMILIES = {
    "mlp": (MlpGan(latent_size=6, generator_hidden=(12, 8)), (8, 8, 1)),
    "points": (MlpGan(latent_size=3, generator_hidden=(12,), output="linear"), (1, 1, 2)),
    "dcgan": (Dcgan(latent_size=6, channels=4), (8, 8, 3)),
    "sn_resnet": (SnResnet(latent_size=6, generator_width=4), (32, 32, 3)),
    "r3gan": (R3gan(latent_size=6, channels=8, group_size=4), (8, 8, 3)),
    "dense": (DenseGenerator(latent_size=6, hidden=(8,)), (8, 8, 1)),
    "vae": (Vae(latent_size=6, hidden=(8,), likelihood="discretized_logistic"), (8, 8, 1)),
    "conv_vae": (Vae(latent_size=6, channels=(4, 6), hidden=(8,)), (8, 8, 1)),
}
CONDITIONAL = [name for name in FAMILIES if name != "dense"]


def experiment(name, classes=0):
    """An experiment with a model of the family."""
    model, shape = FAMILIES[name]
    if classes:
        model = type(model)(**vars(model) | {"classes": classes})
    data = (
        MixtureData()
        if name == "points"
        else ImageData("photos", image_size=shape[0], channels=shape[2])
    )
    return Config(data=data, model=model)


@cache
def generator(name, classes=0, zeros=0.5):
    """A compact model of the family, some of its entries zero."""
    own = experiment(name, classes)
    shape = FAMILIES[name][1]
    made = rebuild(own.model, shape, {})
    params, statistics = jax.jit(made.network.init)(jax.random.key(1))
    random = np.random.default_rng(0)

    def varied(leaf):
        kept = random.random(leaf.shape) >= zeros if leaf.ndim > 1 else 1.0
        return jnp.where(kept, leaf + 0.1 * random.normal(size=leaf.shape), 0).astype(jnp.float32)

    def run(path, leaf):
        """Means around 0, variances around 1."""
        return jnp.float32(
            random.uniform(0.5, 2, leaf.shape) if path[-1].key == "var" else varied(leaf)
        )

    return TrainedGenerator(
        made, jax.tree.map(varied, params), jax.tree_util.tree_map_with_path(run, statistics), {}
    )


def write_sound_model(path):
    """Write a model that draws clips of three classes: 480 samples at 4 kHz."""
    data = TonesData(count=800, mels=8, frames=12, n_fft=128, hop=40, sample_rate=4000)
    model = MlpGan(latent_size=4, generator_hidden=(8,), classes=3)
    made = rebuild(model, (8, 12, 1), {})
    params, statistics = jax.jit(made.network.init)(jax.random.key(0))
    trained = TrainedGenerator(made, params, statistics, {})
    write_model(path, trained, Config(data=data, model=model), 7, {})


def images_of(compact, latents, label=None):
    """What Flax gives, in the generator's range."""
    return np.asarray(
        jax.jit(lambda *given: compact.generator.network.apply(*given[:3], False, *given[3:])[0])(
            compact.params, compact.batch_stats, latents, *(() if label is None else (label,))
        )
    )


def inputs(compact, count=5, seed=0):
    """Latents and, for a conditional generator, labels."""
    classes = compact.generator.classes
    latents = jax.random.normal(jax.random.key(seed), (count, compact.generator.latent_size))
    return (latents, jnp.arange(count) % classes) if classes else (latents,)
