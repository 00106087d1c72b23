"""The whole experiment as data: frozen dataclasses, their checks and their JSON form.

Standard library only. An experiment file builds a `Config`; the command line changes its fields;
`check` refuses what cannot be run; `to_json` and `from_json` keep it in a work directory without
executing anything on the way back.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one sentence that says what to do."""


def _bounds(minimum: float, maximum: float = math.inf, *, open_maximum: bool = False) -> dict[str, Any]:
    return {"bounds": (minimum, maximum, open_maximum)}


@dataclass(frozen=True)
class DigitsData:
    """scikit-learn's 1,797 handwritten digits: real 8×8 images that ship with it."""

    image_size: int = field(default=8, metadata=_bounds(8, 1024))
    """Height and width in pixels; above 8 the digits are enlarged smoothly."""


@dataclass(frozen=True)
class ImageData:
    """Images in a folder (searched recursively), a tar (.gz, .xz, .bz2) or a zip."""

    path: str = ""
    """Folder or archive of images."""
    image_size: int = field(default=64, metadata=_bounds(1, 4096))
    """Height and width in pixels after the centre crop, resized by Lanczos with antialiasing."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    crop: int = field(default=0, metadata=_bounds(0))
    """Side of the centre crop in pixels of the original; 0 takes the largest square."""


@dataclass(frozen=True)
class TfdsData:
    """A TensorFlow Datasets image set prepared as ArrayRecord; read without TensorFlow."""

    name: str = ""
    """TFDS name, such as celeb_a, with a version if you like: celeb_a:2.1.0."""
    split: str = "train"
    """TFDS split, such as train or train[:10%]."""
    data_dir: str = ""
    """Where TFDS keeps its data; empty for its own default."""
    image_size: int = field(default=64, metadata=_bounds(1, 4096))
    """Height and width in pixels after the centre crop, resized by Lanczos with antialiasing."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    crop: int = field(default=0, metadata=_bounds(0))
    """Side of the centre crop in pixels of the original; 0 takes the largest square."""


Data = DigitsData | ImageData | TfdsData


@dataclass(frozen=True)
class MlpGan:
    """A dense generator against a dense discriminator, with convolutions before it if asked."""

    latent_size: int = field(default=64, metadata=_bounds(1))
    """Dimensions of the Gaussian latent."""
    generator_hidden: tuple[int, ...] = field(default=(256, 256), metadata=_bounds(1))
    """Width of each hidden layer of the generator."""
    discriminator_channels: tuple[int, ...] = field(default=(), metadata=_bounds(1))
    """Channels of 5×5 stride-2 convolutions in front of the discriminator; none by default."""
    discriminator_hidden: tuple[int, ...] = field(default=(256, 256), metadata=_bounds(1))
    """Width of each hidden dense layer of the discriminator."""
    output: Literal["tanh", "sigmoid"] = "tanh"
    """The generator's last activation: tanh for images in [-1, 1], sigmoid for [0, 1]."""


@dataclass(frozen=True)
class Dcgan:
    """DCGAN: 4×4 stride-2 convolutions and batch norm (Radford, Metz, Chintala, ICLR 2016)."""

    latent_size: int = field(default=100, metadata=_bounds(1))
    """Dimensions of the Gaussian latent."""
    channels: int = field(default=64, metadata=_bounds(1))
    """Channels of the layer next to the image; they double with every halving of the size."""
    discriminator_norm: bool = True
    """Batch norm in the discriminator; switch it off with gradient penalties."""


@dataclass(frozen=True)
class DenseGenerator:
    """A dense generator alone, ReLU inside and sigmoid outside, for reconstruction objectives."""

    latent_size: int = field(default=100, metadata=_bounds(1))
    """Dimensions of the Gaussian latent."""
    hidden: tuple[int, ...] = field(default=(128, 128), metadata=_bounds(1))
    """Width of each hidden layer."""


Model = MlpGan | Dcgan | DenseGenerator


@dataclass(frozen=True)
class Adversarial:
    """A game between generator and discriminator, from logits."""

    loss: Literal["minimax", "non_saturating", "relativistic_pairing"] = "non_saturating"
    """What the two networks minimise."""
    r1: float = field(default=0.0, metadata=_bounds(0))
    """γ of the gradient penalty γ/2·E‖∇D(x)‖² on real images."""
    r2: float = field(default=0.0, metadata=_bounds(0))
    """γ of the gradient penalty γ/2·E‖∇D(G(z))‖² on generated images."""
    n_critic: int = field(default=1, metadata=_bounds(1))
    """Discriminator steps per generator step, each on a batch of its own."""


@dataclass(frozen=True)
class Reconstruction:
    """Mean squared error between generated images and the real ones their latents are paired with."""

    activity_strength: float = field(default=0.0, metadata=_bounds(0))
    """Strength of an L1 term on the generator's outputs, mean per pixel."""


Objective = Adversarial | Reconstruction


@dataclass(frozen=True)
class L1:
    """strength·‖w‖₁ on the penalised parameters."""

    strength: float = field(default=0.0, metadata=_bounds(0))
    """λ, in units of the loss per unit of |w|; 0 for no penalty."""


@dataclass(frozen=True)
class Optimizer:
    """Adam and the penalty that it minimises along with the loss."""

    learning_rate: float = field(default=2e-4, metadata=_bounds(0))
    """Adam's step size."""
    b1: float = field(default=0.5, metadata=_bounds(0, 1, open_maximum=True))
    """Decay of the first moment."""
    b2: float = field(default=0.999, metadata=_bounds(0, 1, open_maximum=True))
    """Decay of the second moment."""
    eps: float = field(default=1e-8, metadata=_bounds(0))
    """Added to the root of the second moment."""
    penalty: L1 = L1()
    """The penalty."""
    penalised: str = field(default=r"(^|/)kernel$", metadata={"regex": True})
    """Regular expression, searched in parameter paths such as hidden_0/kernel: what is penalised."""
    method: Literal["metric", "plain", "subgradient"] = "metric"
    """metric: prox in Adam's own metric, the stated problem; plain: prox after Adam; subgradient: no exact zeros."""


@dataclass(frozen=True)
class Config:
    """One experiment."""

    data: Data = DigitsData()
    """The real images."""
    model: Model = MlpGan()
    """The networks."""
    objective: Objective = Adversarial()
    """What they minimise."""
    generator: Optimizer = Optimizer()
    """The generator's optimiser and penalty."""
    discriminator: Optimizer | None = Optimizer()
    """The discriminator's optimiser and penalty; None where there is no discriminator."""
    seed: int = field(default=0, metadata=_bounds(0, 2**32, open_maximum=True))
    """Seed of everything random; the same seed gives the same run."""
    steps: int = field(default=10_000, metadata=_bounds(1, 2**31 - 1))
    """Generator steps in all, those before a resume included."""
    batch_size: int = field(default=64, metadata=_bounds(1))
    """Images per step over all devices."""
    ema_decay: float = field(default=0.999, metadata=_bounds(0, 1, open_maximum=True))
    """Decay per step of the generator's average, which keeps zeros; samples come from it."""
    log_every: int = field(default=100, metadata=_bounds(1))
    """Steps between lines of metrics; they run in one compiled call, best if it divides the other intervals."""
    sample_every: int = field(default=1_000, metadata=_bounds(1))
    """Steps between sample grids."""
    checkpoint_every: int = field(default=1_000, metadata=_bounds(1))
    """Steps between checkpoints."""
    keep_checkpoints: int = field(default=3, metadata=_bounds(1))
    """How many of the last checkpoints are kept, besides the best."""
    parallel: Literal["shard_map", "pmap"] = "shard_map"
    """How the step is mapped over devices; both train the same model."""
    resident_mib: int = field(default=2048, metadata=_bounds(0))
    """Data up to this many MiB stays on the device; more is streamed."""


# What may differ between a checkpoint and the run that resumes it: none of these changes a step.
# (The images behind a path are compared by their fingerprint instead.)
FREE_FIELDS = frozenset(
    [
        "steps",
        "log_every",
        "sample_every",
        "checkpoint_every",
        "keep_checkpoints",
        "parallel",
        "resident_mib",
        "data.path",
        "data.data_dir",
    ]
)

_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (Config, Optimizer, L1, *typing.get_args(Data), *typing.get_args(Model), *typing.get_args(Objective))
}


def to_json(config: Any) -> Any:
    """Turn a configuration into plain JSON values, each dataclass tagged with its `kind`."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        values = {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
        return {"kind": type(config).__name__, **values}
    if isinstance(config, tuple | list):
        return [to_json(item) for item in config]
    return config


def from_json(values: Any) -> Config:
    """Rebuild and check a configuration from what `to_json` gave.

    Raises:
        InputError: naming the field, its value and what was required.
    """
    return _decode(Config, values, "", {})


def check(config: Config) -> Config:
    """Check types and ranges of every field; whole numbers given for floats become floats.

    Raises:
        InputError: naming the field, its value and what was required.
    """
    return from_json(to_json(config))


def kinds(name: Literal["data", "model", "objective"]) -> dict[str, type]:
    """The dataclasses that the top-level field `name` can hold, by their command-line name."""
    hints = typing.get_type_hints(Config)[name]
    return {_hyphenate(kind.__name__): kind for kind in typing.get_args(hints)}


def switch_kind(current: Any, kind: type) -> Any:
    """A `kind` with its defaults, except for the fields that `current` has as well."""
    shared = {f.name for f in dataclasses.fields(kind)} & {f.name for f in dataclasses.fields(current)}
    return kind(**{name: getattr(current, name) for name in shared})


def differences(old: Config, new: Config, ignore: frozenset[str] = FREE_FIELDS) -> list[str]:
    """Name the fields in which two experiments differ, as `field: old → new`.

    Where one holds another kind of model, say, the kind is named and not its fields.
    """

    def flatten(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {path: value}
        return {k: v for name in value for k, v in flatten(value[name], f"{path}.{name}".lstrip(".")).items()}

    a, b = flatten(to_json(old), ""), flatten(to_json(new), "")
    names = [name for name in (a | b) if name not in ignore and a.get(name) != b.get(name)]
    other = tuple(name.removesuffix("kind") for name in names if name.endswith(".kind"))
    names = [name for name in names if not any(name.startswith(o) and name != f"{o}kind" for o in other)]
    return [f"{name}: {a.get(name, 'absent')} → {b.get(name, 'absent')}" for name in names]


def _hyphenate(name: str) -> str:
    """`DigitsData` → digits, `MlpGan` → mlp-gan."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name.removesuffix("Data")).lower()


def _decode(hint: Any, value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _decode_dataclass(tuple(a for a in arguments if a is not type(None)), value, path)
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass((hint,), value, path)
    if origin is Literal:
        allowed = any(type(value) is type(choice) and value == choice for choice in arguments)
        _require(allowed, path, value, f"one of {_join(arguments)}")
        return value
    if origin is tuple:
        _require(isinstance(value, list), path, value, f"a tuple of {arguments[0].__name__}")
        return tuple(_decode(arguments[0], item, f"{path}[{i}]", metadata) for i, item in enumerate(value))
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < 2**1023 else math.inf
    _require(type(value) is hint, path, value, f"of type {hint.__name__}")
    if "bounds" in metadata:
        low, high, strict = metadata["bounds"]
        inside = (hint is int or math.isfinite(value)) and low <= value and (value < high if strict else value <= high)
        upper = f" and {'below' if strict else 'at most'} {high}" if high < math.inf else ""
        _require(inside, path, value, f"finite, at least {low}{upper}" if hint is float else f"at least {low}{upper}")
    if metadata.get("regex"):
        try:
            re.compile(str(value))
        except re.error as error:
            raise InputError(f"`{path}` (={value!r}) must be a regular expression: {error}.") from None
    return value


def _decode_dataclass(choices: tuple[Any, ...], value: Any, path: str) -> Any:
    names = [choice.__name__ for choice in choices]
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in names:
        shown = kind if isinstance(kind, str) else repr(value)
        raise InputError(f"`{path or 'config'}` (={shown}) must be of type {' or '.join(names)}.")
    cls = _KINDS[kind]
    hints, fields = typing.get_type_hints(cls), {f.name: f for f in dataclasses.fields(cls)}
    unknown = [name for name in value if name not in fields and name != "kind"]
    if unknown:
        raise InputError(f"`{_dot(path, unknown[0])}` is not a field of {kind}; it has {_join(fields)}.")
    return cls(
        **{
            name: _decode(hints[name], value[name], _dot(path, name), f.metadata)
            for name, f in fields.items()
            if name in value
        }
    )


def _require(holds: bool, path: str, value: Any, requirement: str) -> None:
    if not holds:
        raise InputError(f"`{path}` (={value!r}) must be {requirement}.")


def _dot(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _join(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names)
