"""Build the model and the objective that a configuration describes."""

from l1jax import config
from l1jax.data.byte_tokens import VOCABULARY
from l1jax.data.custom_source import open_custom
from l1jax.models import (
    Flow,
    Gan,
    Generator,
    LanguageModel,
    Vae,
    dcgan,
    dense_generator,
    dit,
    flow_mlp,
    mlp_gan,
    r3gan,
    sn_resnet,
    transformer,
    unet,
    vae,
)
from l1jax.models.custom import custom_model
from l1jax.models.network import AXIS
from l1jax.objectives.adversarial import LOSSES, AdversarialLoss, relativistic_average

Model = Gan | Generator | Vae | Flow | LanguageModel


def example_shape(data: config.Data) -> tuple[int, ...]:
    """Return the shape of one example without opening the data.

    That is height, width and channels of an image, and the number of tokens of a window of text.

    Raises:
        TypeError: as `image_shape`.
    """
    if isinstance(data, config.Text):
        return (data.window,)
    return image_shape(data)


def image_shape(data: config.Data) -> tuple[int, int, int]:
    """Return height, width and channels of the images without opening them, but for one's own.

    Raises:
        InputError: if `data` is text.
        TypeError: if `data` is of a kind that has no case here.
    """
    match data:
        case config.MixtureData():
            return 1, 1, 2
        case config.DigitsData() | config.IdxData():
            return data.image_size, data.image_size, 1
        case config.StackedData():
            return data.image_size, data.image_size, 3
        case config.ImageData() | config.ArrayData() | config.TfdsData():
            return data.image_size, data.image_size, data.channels
        case config.AudioData() | config.TonesData():
            return data.mels, data.frames, 1
        case config.CustomData():
            return open_custom(data).image_shape
        case config.TopicsData() | config.TextData():
            raise config.InputError(
                f"`data` (={type(data).__name__}) is text, and this works with images and points "
                "only: give an experiment of images."
            )
        case _:
            raise TypeError(f"`data` (={data!r}) must be of a kind that `image_shape` knows.")


def build_model(model: config.Model, shape: tuple[int, ...]) -> Model:
    """Build the networks for examples of this shape, as `example_shape` returns it.

    Raises:
        InputError: if the examples do not fit the model.
    """
    if isinstance(model, config.Transformer):
        return build_language_model(model, shape)
    if len(shape) != 3:
        raise config.InputError(
            f"`model` (={type(model).__name__}) is a model of images or points: give --model "
            "transformer for text."
        )
    height, width, channels = shape
    return build_image_model(model, (height, width, channels))


def build_language_model(model: config.Transformer, shape: tuple[int, ...]) -> LanguageModel:
    """Build a model of text, whose examples are windows of tokens.

    Raises:
        InputError: if the examples are no windows or too short, or the numbers do not fit.
    """
    if len(shape) != 1:
        raise config.InputError(
            f"`model` (={type(model).__name__}) is a model of text: give --data topics or --data "
            "text."
        )
    (window,) = shape
    if model.context > window:
        raise config.InputError(
            f"`model.context` (={model.context}) must be at most `data.window` (={window}), for "
            "attention over longer distances would not be trained: make the window longer or the "
            "context shorter."
        )
    try:
        return transformer(VOCABULARY, **vars(model))
    except ValueError as error:
        raise config.InputError(str(error)) from error


def build_image_model(
    model: config.Model, image_shape: tuple[int, int, int]
) -> Gan | Generator | Vae | Flow:
    """Build the networks for images of this height, width and channels.

    Raises:
        InputError: if the images do not fit the model.
    """
    try:
        match model:
            case config.MlpGan():
                _check_output(model, image_shape)
                return mlp_gan(
                    image_shape, **vars(model)
                )  # their fields have the names of the arguments
            case config.Dcgan():
                return dcgan(image_shape, **vars(model))
            case config.SnResnet():
                return sn_resnet(image_shape, **vars(model))
            case config.R3gan():
                return r3gan(image_shape, **vars(model))
            case config.DenseGenerator():
                return dense_generator(image_shape, **vars(model))
            case config.Vae():
                return vae(image_shape, **vars(model))
            case config.FlowMlp():
                _check_output(model, image_shape)
                return flow_mlp(image_shape, **vars(model))
            case config.Unet():
                return unet(image_shape, **vars(model))
            case config.Dit():
                return dit(image_shape, **vars(model))
            case config.CustomModel():
                return custom_model(model, image_shape)
            case config.Transformer():
                raise config.InputError(f"`model` (={type(model).__name__}) is a model of text.")
    except ValueError as error:
        raise config.InputError(str(error)) from error


def _check_output(model: config.MlpGan | config.FlowMlp, image_shape: tuple[int, int, int]) -> None:
    """Raise unless the last activation fits images, or points."""
    points = image_shape[:2] == (1, 1)
    if points != (model.output == "linear"):
        raise config.InputError(
            f"`model.output` (={model.output}) must be linear for points, and tanh or "
            "sigmoid for images."
        )


def build_loss(objective: config.Adversarial) -> AdversarialLoss:
    """Return the adversarial loss that the objective names; its averages are over all devices."""
    if objective.loss == "relativistic_average":
        return relativistic_average(AXIS)
    return LOSSES[objective.loss]
