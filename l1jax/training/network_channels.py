"""The channels of the networks of a task, for penalties of groups that lie in several arrays."""

import functools
import re

from l1jax import config
from l1jax.build import Model
from l1jax.build_optimizer import ChannelGroups, has_channel_groups
from l1jax.models import Flow, Gan, Generator, LanguageModel, Vae
from l1jax.penalties import Slices


def channel_finders(model: Model) -> dict[str, ChannelGroups]:
    """Return for each network that is trained, by its name, what finds its channels.

    A network is traced at the first call, and only then.
    """
    generator = model.generator if isinstance(model, Gan | Vae | Flow) else model
    finders: dict[str, ChannelGroups] = {
        "generator": functools.cache(lambda: _generator_channels(generator))
    }
    match model:
        case Gan():
            finders["discriminator"] = functools.cache(lambda: _discriminator_channels(model))
        case Vae():
            finders["encoder"] = functools.cache(lambda: _encoder_channels(model))
        case _:
            pass
    return finders


def penalised_pattern(optimizer: config.Optimizer, channels: ChannelGroups) -> str:
    """Return the regular expression of the paths that an optimiser's penalty can make zero.

    That is `penalised`. Of groups of channels it is what `penalised` selects of their paths.

    Args:
        optimizer: the configuration.
        channels: finds the channels of its network.
    """
    if not has_channel_groups(optimizer.penalty):
        return optimizer.penalised
    paths = [re.escape(path) for path in channels() if re.search(optimizer.penalised, path)]
    return f"^({'|'.join(paths)})$"


# The graph pass is loaded only where a penalty has channels.


def _generator_channels(model: Generator | LanguageModel) -> dict[str, Slices]:
    from l1jax.compaction.network_channels import generator_channels, language_model_channels

    if isinstance(model, LanguageModel):
        return language_model_channels(model)
    return generator_channels(model)


def _discriminator_channels(gan: Gan) -> dict[str, Slices]:
    from l1jax.compaction.network_channels import discriminator_channels

    return discriminator_channels(gan)


def _encoder_channels(vae: Vae) -> dict[str, Slices]:
    from l1jax.compaction.network_channels import encoder_channels

    return encoder_channels(vae)
