"""What the discriminator minimises: its loss on real and generated images, and regularisers."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

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
from l1jax.training.keys import named_key
from l1jax.training.state import Metrics
from l1jax.training.step import pmean

Images = Float[Array, "batch height width channels"]
# (images, batch statistics, name of the pass, which its random key depends on) → (logits, batch
# statistics after the pass)
Discriminate = Callable[[Images, PyTree, str], tuple[Logits, PyTree]]


class Regularizers(NamedTuple):
    """What the discriminator minimises besides its loss, and how its images are augmented.

    A factor of 0 switches its term off and costs nothing.

    Attributes:
        r1: γ of γ/2·E‖∇D(x)‖².
        r2: γ of γ/2·E‖∇D(G(z))‖².
        wgan_gp: factor of E(‖∇D‖ − 1)² between real and generated images.
        dragan: factor of E(‖∇D‖ − 1)² around real images.
        penalty_every: discriminator updates from one gradient penalty to the next; the penalties
            are multiplied by it.
        consistency: factor of E(D(x) − D(T(x)))², on real and on generated images.
        lecam: factor of the squared distance to the other kind's average logit.
        augmentation: applied to all images before the discriminator.
        consistency_transform: T of the consistency term.
        gamma_scale: multiplies `r1` and `r2`; None for 1.
        probability: of augmentation, where no controller adapts it.
    """

    r1: float = 0.0
    r2: float = 0.0
    wgan_gp: float = 0.0
    dragan: float = 0.0
    penalty_every: int = 1
    consistency: float = 0.0
    lecam: float = 0.0
    augmentation: Augmentation | None = None
    consistency_transform: Augmentation | None = None
    gamma_scale: Float[Array, ""] | None = None
    probability: ArrayLike = 1.0

    def has_gradient_penalty(self) -> bool:
        """Return whether any term needs the gradient with respect to images."""
        return any((self.r1, self.r2, self.wgan_gp, self.dragan))


NO_REGULARIZERS = Regularizers()


class Examples(NamedTuple):
    """What one update of a network sees, or a part of it; every leaf leads with the batch.

    Attributes:
        real: real images.
        label: their classes, and those of the generated images.
        latents: that images are generated from.
        noise: as `sample_noise` draws it.
        fake: images generated from the latents; None if that is still to be done.
    """

    real: Images
    label: Int[Array, " batch"]
    latents: Float[Array, "batch latent"]
    noise: dict[str, PyTree]
    fake: Images | None = None


# (params, batch statistics, examples, controllers, key of the update) → (loss, (batch statistics
# after the passes, metrics)), on one device.
DiscriminatorLoss = Callable[
    [PyTree, PyTree, Examples, Controllers, Key[Array, ""]],
    tuple[Float[Array, ""], tuple[PyTree, Metrics]],
]


def sample_noise(
    regularizers: Regularizers, real: Images, key: Key[Array, ""]
) -> dict[str, PyTree]:
    """Sample what augmentations and gradient penalties need, for this device's part of the batch.

    Args:
        regularizers: which of them are in use.
        real: this device's real images.
        key: of this update.

    Returns:
        The noise of each use: "augment_real", "augment_fake", "consistent_real",
        "consistent_fake", "between" (weights of WGAN-GP), "around" (DRAGAN's images).
    """
    num_local = real.shape[0]
    noise: dict[str, PyTree] = {}

    def sample(draw: Callable[[Key[Array, ""], int], PyTree], name: str) -> PyTree:
        whole = draw(named_key(key, name), num_local * jax.lax.axis_size(AXIS))
        return jax.tree.map(local_slice, whole)

    for kind in ("real", "fake"):
        if regularizers.augmentation:
            noise[f"augment_{kind}"] = sample(regularizers.augmentation.draw, f"augment {kind}")
        if regularizers.consistency and regularizers.consistency_transform:
            draw = regularizers.consistency_transform.draw
            noise[f"consistent_{kind}"] = sample(draw, f"consistent {kind}")
    if regularizers.wgan_gp:
        noise["between"] = sample(lambda key, count: jax.random.uniform(key, (count,)), "between")
    if regularizers.dragan:
        indices = jax.lax.axis_index(AXIS) * num_local + jnp.arange(num_local)
        keys = jax.vmap(lambda i: jax.random.fold_in(named_key(key, "around"), i))(indices)
        uniform = jax.vmap(lambda key: jax.random.uniform(key, real.shape[1:]))(keys)
        mean, square = pmean((jnp.mean(real), jnp.mean(jnp.square(real))))
        deviation = jnp.sqrt(jnp.maximum(square - jnp.square(mean), 0))
        noise["around"] = around(real, uniform, deviation)
    return noise


def augment(
    regularizers: Regularizers,
    kind: str,
    images: Images,
    examples: Examples,
    controllers: Controllers,
) -> Images:
    """Return the images as the discriminator sees them.

    Args:
        regularizers: for the augmentation.
        kind: "real" or "fake", which noise is used.
        images: before augmentation.
        examples: for the noise.
        controllers: for the probability; without one, it is that of the regularizers.
    """
    if regularizers.augmentation is None:
        return images
    probability = controllers.probability
    if probability is None:
        probability = regularizers.probability
    noise = examples.noise[f"augment_{kind}"]
    return regularizers.augmentation.apply(images, noise, probability)


def squared_gradient(
    discriminate: Discriminate, images: Images, batch_stats: PyTree, use: str
) -> tuple[Logits, PyTree, Float[Array, " logits"]]:
    """Return logits, batch statistics and ‖∇D‖² of each logit's images.

    Args:
        discriminate: the discriminator at its parameters.
        images: at which the gradient is taken.
        batch_stats: before the pass.
        use: name of the pass.
    """
    logits, batch_stats, squared = with_squared_gradient(
        lambda x: discriminate(x, batch_stats, use), images
    )
    if logits.shape[0] < images.shape[0]:  # packed: several images are one input
        squared = squared.reshape(logits.shape[0], -1).sum(1)
    return logits, batch_stats, squared


def logits_and_penalty(
    discriminate: Discriminate, images: Images, batch_stats: PyTree, use: str, gamma: float
) -> tuple[Logits, PyTree, Float[Array, ""]]:
    """Return logits, batch statistics and γ/2·E‖∇D‖², from one pass.

    Args:
        discriminate: the discriminator at its parameters.
        images: real ones for R1, generated ones for R2.
        batch_stats: before the pass.
        use: name of the pass.
        gamma: γ; with 0, no gradient is computed.
    """
    if gamma == 0:
        logits, batch_stats = discriminate(images, batch_stats, use)
        return logits, batch_stats, jnp.zeros(())
    logits, batch_stats, squared = squared_gradient(discriminate, images, batch_stats, use)
    return logits, batch_stats, gamma / 2 * jnp.mean(squared)


def make_discriminator_loss(
    network: Network,
    loss: AdversarialLoss,
    regularizers: Regularizers,
    with_gradient_penalty: bool = True,
) -> DiscriminatorLoss:
    """Build the function that the discriminator minimises, on one device.

    It takes (params, batch_stats, examples, controllers, key) and returns the loss, and beside it
    the batch statistics after the passes and metrics. The examples must have generated images.

    Args:
        network: the discriminator.
        loss: as a function of logits.
        regularizers: what is added.
        with_gradient_penalty: False in the updates that `penalty_every` leaves out.
    """
    if not with_gradient_penalty:
        regularizers = regularizers._replace(r1=0.0, r2=0.0, wgan_gp=0.0, dragan=0.0)

    def discriminator_loss(
        params: PyTree,
        batch_stats: PyTree,
        examples: Examples,
        controllers: Controllers,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, ""], tuple[PyTree, Metrics]]:
        def discriminate(images: Images, batch_stats: PyTree, use: str) -> tuple[Logits, PyTree]:
            return network.apply(
                params, batch_stats, images, True, examples.label, named_key(key, use)
            )

        assert examples.fake is not None
        real = augment(regularizers, "real", examples.real, examples, controllers)
        fake = augment(regularizers, "fake", examples.fake, examples, controllers)
        real_logits, batch_stats, real_penalty = logits_and_penalty(
            discriminate, real, batch_stats, "real", regularizers.r1
        )
        fake_logits, batch_stats, fake_penalty = logits_and_penalty(
            discriminate, fake, batch_stats, "fake", regularizers.r2
        )
        penalty = real_penalty + fake_penalty
        if regularizers.gamma_scale is not None:
            penalty *= regularizers.gamma_scale
        if regularizers.wgan_gp:
            points = between(real, fake, examples.noise["between"])
            _, _, squared = squared_gradient(discriminate, points, batch_stats, "between")
            penalty += regularizers.wgan_gp * unit_norm_penalty(squared)
        if regularizers.dragan:
            points = examples.noise["around"]
            _, _, squared = squared_gradient(discriminate, points, batch_stats, "around")
            penalty += regularizers.dragan * unit_norm_penalty(squared)
        penalty *= regularizers.penalty_every

        base = loss.discriminator(real_logits, fake_logits)
        metrics = {
            "discriminator/loss": base,
            "discriminator/gradient_penalty": penalty,
            "discriminator/real_logit": jnp.mean(real_logits),
            "discriminator/fake_logit": jnp.mean(fake_logits),
            # Of pairs of a real and a generated image.
            "discriminator/accuracy": jnp.mean(real_logits > fake_logits, dtype=real_logits.dtype),
        }
        total = base + penalty
        if regularizers.consistency:
            transform = regularizers.consistency_transform
            assert transform is not None
            for kind, images, logits in (("real", real, real_logits), ("fake", fake, fake_logits)):
                transformed = transform.apply(images, examples.noise[f"consistent_{kind}"], 1.0)
                new_logits, _ = discriminate(transformed, batch_stats, f"consistent {kind}")
                metrics[f"discriminator/consistency_{kind}"] = consistency(logits, new_logits)
                total += regularizers.consistency * metrics[f"discriminator/consistency_{kind}"]
        if controllers.anchors is not None:
            metrics["discriminator/lecam"] = lecam(real_logits, fake_logits, controllers.anchors)
            total += regularizers.lecam * metrics["discriminator/lecam"]
        if controllers.probability is not None:
            metrics["discriminator/real_sign"] = jnp.mean(jnp.sign(real_logits))
        return total, (batch_stats, metrics)

    return discriminator_loss
