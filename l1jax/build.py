"""From configuration to what it names: model, objective, optimiser."""

import optax

from l1jax import config
from l1jax.models import Gan, Generator, Vae, dcgan, dense_generator, mlp_gan, r3gan, sn_resnet, vae
from l1jax.objectives.adversarial import LOSSES, AdversarialLoss
from l1jax.penalties import by_path, l1
from l1jax.transforms import add_subgradient, proximal, proximal_adam


def image_shape(data: config.Data) -> tuple[int, int, int]:
    """Height, width and channels of the images, known without opening them."""
    match data:
        case config.MixtureData():
            return 1, 1, 2
        case config.DigitsData() | config.IdxData():
            return data.image_size, data.image_size, 1
        case config.StackedData():
            return data.image_size, data.image_size, 3
        case config.ImageData() | config.TfdsData():
            return data.image_size, data.image_size, data.channels


def build_model(model: config.Model, image_shape: tuple[int, int, int]) -> Gan | Generator | Vae:
    """Build the networks for images of this height, width and channels.

    Raises:
        InputError: if the images do not fit the model.
    """
    try:
        match model:
            case config.MlpGan():
                points = image_shape[:2] == (1, 1)
                if points != (model.output == "linear"):
                    raise config.InputError(
                        f"`model.output` (={model.output}) must be linear for points, and tanh or sigmoid for images."
                    )
                return mlp_gan(image_shape, **vars(model))  # their fields have the names of the arguments
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
    except ValueError as error:
        raise config.InputError(str(error)) from error


def build_loss(objective: config.Adversarial) -> AdversarialLoss:
    """The adversarial loss that the objective names."""
    return LOSSES[objective.loss]


def build_optimizer(optimizer: config.Optimizer) -> optax.GradientTransformation:
    """Adam with the penalty acting the way `optimizer.method` says."""
    o = optimizer
    penalty = by_path({o.penalised: l1(o.penalty.strength)})
    match o.method:
        case "metric":
            return proximal_adam(o.learning_rate, penalty, b1=o.b1, b2=o.b2, eps=o.eps)
        case "plain":
            adam = optax.adam(o.learning_rate, b1=o.b1, b2=o.b2, eps=o.eps)
            return optax.chain(adam, proximal(penalty, o.learning_rate))
        case "subgradient":
            adam = optax.adam(o.learning_rate, b1=o.b1, b2=o.b2, eps=o.eps)
            return optax.chain(add_subgradient(penalty), adam)
