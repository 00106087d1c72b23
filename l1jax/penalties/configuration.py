"""Which factory builds the penalty that a configuration names."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from l1jax.penalties.base import Penalty
from l1jax.penalties.channels import input_channels, output_channels, scales
from l1jax.penalties.groups import Groups, kernel_blocks

if TYPE_CHECKING:
    from l1jax.config import Penalty as Configuration
else:  # `import l1jax` does not load the configuration
    Configuration = object

Factory = TypeVar("Factory", bound=Callable[..., Penalty])

_FACTORIES: dict[str, Callable[..., Penalty]] = {}
_GROUPS: dict[str, Callable[[], Groups]] = {
    "output_channels": output_channels,
    "input_channels": input_channels,
    "scales": scales,
}


def configured_by(kind: str) -> Callable[[Factory], Factory]:
    """Make a factory the one that builds the penalty of the configuration class of that name.

    The class is declared in `l1jax.config`, which also derives the penalty's name on the command
    line from it; its fields have the names of the factory's parameters. The fields `groups` and
    `block` together are the parameter `axis`.
    """

    def add(factory: Factory) -> Factory:
        _FACTORIES[kind] = factory
        return factory

    return add


def from_configuration(configuration: Configuration) -> Penalty:
    """Build the penalty that a configuration names.

    Raises:
        KeyError: for `config.ReweightedL1`, which has no factory: `l1jax.build_optimizer` makes it
            of a penalty and `reweight`.
        ValueError: if a number is out of its range.
    """
    arguments = dict(vars(configuration))
    if "groups" in arguments:
        name = arguments.pop("groups")
        block = arguments.pop("block")
        arguments["axis"] = _named_groups(name, block)
    return _FACTORIES[type(configuration).__name__](**arguments)


def _named_groups(name: str, block: tuple[int, ...]) -> Groups:
    if name == "blocks":
        return kernel_blocks(block)
    return _GROUPS[name]()
