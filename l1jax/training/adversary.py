"""What the discriminator minimises: its loss on real and generated images, and terms that keep it in check."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from l1jax.data.augmentation import Augmentation
from l1jax.models.network import AXIS, Network, local_slice
from l1jax.objectives.adversarial import AdversarialLoss, Logits
from l1jax.objectives.consistency import consistency, lecam
from l1jax.objectives.gradient_penalty import (
    around,
    between,
    unit_norm_penalty,
    with_squared_gradient,
)
from l1jax.training.controllers import Controllers
from l1jax.training.parts import mean_over_devices, named_key
from l1jax.training.state import Metrics

Images = Float[Array, "batch height width channels"]


class Terms(NamedTuple):
    """What the discriminator minimises besides its loss; a factor of 0 costs nothing."""

    r1: float = 0.0  # γ of γ/2·E‖∇D(x)‖²
    r2: float = 0.0  # γ of γ/2·E‖∇D(G(z))‖²
    wgan_gp: float = 0.0  # of E(‖∇D‖ − 1)² between real and generated images
    dragan: float = 0.0  # of E(‖∇D‖ − 1)² around real images
    every: int = 1  # discriminator updates from one gradient penalty to the next, which is as many times as strong
    consistency: float = 0.0  # of E(D(x) − D(T(x)))², real and generated
    lecam: float = 0.0  # of the pull to the other kind's average logit
    augmentation: Augmentation | None = (
        None  # what changes all images on their way to the discriminator
    )
    consistent: Augmentation | None = None  # T of the consistency term

    def has_gradients(self) -> bool:
        """Whether there is a gradient penalty, which `every` spares."""
        return any((self.r1, self.r2, self.wgan_gp, self.dragan))


NO_TERMS = Terms()


class Examples(NamedTuple):
    """What one update of a network sees, or a part of it; every leaf leads with the batch."""

    real: Images
    label: Int[Array, " batch"]
    latents: Float[Array, "batch latent"]
    numbers: dict[str, PyTree]  # random, for each example
    fake: Images | None = None  # where the generator's pass is not to be made anew


def draw_numbers(terms: Terms, real: Images, key: Key[Array, ""]) -> dict[str, PyTree]:
    """Draw what the terms need at random, for this device's part of the batch."""
    local, drawn = real.shape[0], {}

    def whole(draw: Callable[[Key[Array, ""], int], PyTree], name: str) -> PyTree:
        numbers = draw(named_key(key, name), local * jax.lax.axis_size(AXIS))
        return jax.tree.map(local_slice, numbers)

    for kind in ("real", "fake"):
        if terms.augmentation:
            drawn[f"augment_{kind}"] = whole(terms.augmentation.draw, f"augment {kind}")
        if terms.consistency and terms.consistent:
            drawn[f"consistent_{kind}"] = whole(terms.consistent.draw, f"consistent {kind}")
    if terms.wgan_gp:
        drawn["between"] = whole(lambda key, count: jax.random.uniform(key, (count,)), "between")
    if terms.dragan:
        indices = jax.lax.axis_index(AXIS) * local + jnp.arange(local)
        keys = jax.vmap(lambda i: jax.random.fold_in(named_key(key, "around"), i))(indices)
        noise = jax.vmap(lambda key: jax.random.uniform(key, real.shape[1:]))(keys)
        mean, square = mean_over_devices((jnp.mean(real), jnp.mean(jnp.square(real))))
        drawn["around"] = around(real, noise, jnp.sqrt(jnp.maximum(square - jnp.square(mean), 0)))
    return drawn


def augmented(
    terms: Terms, kind: str, images: Images, examples: Examples, controllers: Controllers
) -> Images:
    """The images as the discriminator sees them."""
    if terms.augmentation is None:
        return images
    probability = 1.0 if controllers.probability is None else controllers.probability
    return terms.augmentation.apply(images, examples.numbers[f"augment_{kind}"], probability)


def discriminator_loss(
    network: Network, loss: AdversarialLoss, terms: Terms, gradients: bool = True
) -> Callable[..., tuple[Float[Array, ""], tuple[PyTree, Metrics]]]:
    """Build (params, statistics, examples, controllers, key) → (value, (statistics, metrics)) on one device.

    Args:
        network: the discriminator.
        loss: from logits.
        terms: what is added.
        gradients: whether gradient penalties are among it in this update.
    """

    def value(
        params: PyTree,
        statistics: PyTree,
        examples: Examples,
        controllers: Controllers,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], tuple[PyTree, Metrics]]:
        def discriminate(images: Images, statistics: PyTree, use: str) -> tuple[Logits, PyTree]:
            return network.apply(
                params, statistics, images, True, examples.label, named_key(key, use)
            )

        def score(
            images: Images, statistics: PyTree, use: str, gamma: float
        ) -> tuple[Logits, PyTree, Array]:
            if gamma == 0 or not gradients:
                return *discriminate(images, statistics, use), jnp.zeros(())
            logits, moved, squared = squared_gradient(images, statistics, use)
            return logits, moved, gamma / 2 * jnp.mean(squared)

        def squared_gradient(
            images: Images, statistics: PyTree, use: str
        ) -> tuple[Logits, PyTree, Array]:
            logits, moved, squared = with_squared_gradient(
                lambda x: discriminate(x, statistics, use), images
            )
            packed = logits.shape[0] < images.shape[0]  # then several images are one input
            return logits, moved, squared.reshape(logits.shape[0], -1).sum(1) if packed else squared

        assert examples.fake is not None
        real = augmented(terms, "real", examples.real, examples, controllers)
        fake = augmented(terms, "fake", examples.fake, examples, controllers)
        real_logits, statistics, real_penalty = score(real, statistics, "real", terms.r1)
        fake_logits, statistics, fake_penalty = score(fake, statistics, "fake", terms.r2)
        penalty = real_penalty + fake_penalty
        if terms.wgan_gp and gradients:
            points = between(real, fake, examples.numbers["between"])
            penalty += terms.wgan_gp * unit_norm_penalty(
                squared_gradient(points, statistics, "between")[2]
            )
        if terms.dragan and gradients:
            points = examples.numbers["around"]
            penalty += terms.dragan * unit_norm_penalty(
                squared_gradient(points, statistics, "around")[2]
            )
        penalty *= terms.every

        base = loss.discriminator(real_logits, fake_logits)
        metrics = {
            "discriminator/loss": base,
            "discriminator/gradient_penalty": penalty,
            "discriminator/real_logit": jnp.mean(real_logits),
            "discriminator/fake_logit": jnp.mean(fake_logits),
            "discriminator/accuracy": jnp.mean(
                real_logits > fake_logits, dtype=real_logits.dtype
            ),  # of pairs
        }
        total = base + penalty
        if terms.consistency:
            assert terms.consistent is not None
            for kind, images, logits in (("real", real, real_logits), ("fake", fake, fake_logits)):
                changed = terms.consistent.apply(
                    images, examples.numbers[f"consistent_{kind}"], 1.0
                )
                again, _ = discriminate(changed, statistics, f"consistent {kind}")
                metrics[f"discriminator/consistency_{kind}"] = consistency(logits, again)
                total += terms.consistency * metrics[f"discriminator/consistency_{kind}"]
        if controllers.anchors is not None:
            metrics["discriminator/lecam"] = lecam(real_logits, fake_logits, controllers.anchors)
            total += terms.lecam * metrics["discriminator/lecam"]
        if controllers.probability is not None:
            metrics["discriminator/real_sign"] = jnp.mean(jnp.sign(real_logits))
        return total, (statistics, metrics)

    return value
