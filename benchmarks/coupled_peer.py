"""The network of `coupled.py` in PyTorch, its channels removed by Torch-Pruning."""

from typing import Any

import numpy as np
import torch
import torch_pruning
from coupled import (
    RATE,
    WIDTHS,
    Data,
    Images,
    Labels,
    Outcome,
    Steps,
    batches,
    falling,
    multiplications,
)
from jaxtyping import Int, PyTree
from torch import Tensor, nn
from torch.nn import functional as F

PRUNING_STEPS = 100  # in which Torch-Pruning would remove nearly all channels


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        first, first_hidden, second, second_hidden = WIDTHS
        self.down_0 = nn.Conv2d(1, first, 3, 2, 1)
        self.hidden_0 = nn.Conv2d(first, first_hidden, 3, 1, 1)
        self.back_0 = nn.Conv2d(first_hidden, first, 3, 1, 1)
        self.down_1 = nn.Conv2d(first, second, 3, 2, 1)
        self.hidden_1 = nn.Conv2d(second, second_hidden, 3, 1, 1)
        self.back_1 = nn.Conv2d(second_hidden, second, 3, 1, 1)
        self.logits = nn.Linear(second, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.down_0(x))
        x = F.relu(x + self.back_0(F.relu(self.hidden_0(x))))
        x = F.relu(self.down_1(x))
        x = F.relu(x + self.back_1(F.relu(self.hidden_1(x))))
        return self.logits(x.mean((2, 3)))

    @property
    def widths(self) -> tuple[int, ...]:
        layers = (self.down_0, self.hidden_0, self.down_1, self.hidden_1)
        return tuple(layer.out_channels for layer in layers)


def from_flax(params: PyTree) -> ResNet:
    network = ResNet()
    for name, layer in params.items():
        kernel = torch.from_numpy(np.array(layer["kernel"]))
        order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        module = getattr(network, name)
        module.weight.data = kernel.permute(order).contiguous()
        module.bias.data = torch.from_numpy(np.array(layer["bias"]))
    return network


def tensors(data: tuple[Images, Labels]) -> tuple[Tensor, Tensor]:
    images, labels = data
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return torch.from_numpy(channels_first), torch.from_numpy(labels).long()


def train(
    network: ResNet,
    data: tuple[Images, Labels],
    rows: Int[np.ndarray, "steps batch"],
    pruner: Any = None,
) -> None:
    images, labels = tensors(data)
    adam = torch.optim.Adam(network.parameters(), RATE)
    schedule = falling(len(rows))
    if pruner is not None:
        pruner.update_regularizer()
    for step, batch in enumerate(torch.from_numpy(rows)):
        for group in adam.param_groups:
            group["lr"] = float(schedule(step))
        adam.zero_grad()
        F.cross_entropy(network(images[batch]), labels[batch]).backward()
        if pruner is not None:
            pruner.regularize(network)
        adam.step()


def accuracy(network: ResNet, data: tuple[Images, Labels]) -> float:
    images, labels = tensors(data)
    with torch.no_grad():
        return float((network(images).argmax(-1) == labels).float().mean())


def by_group_norm(
    data: Data, dense: PyTree, seed: int, steps: Steps, share: float, strength: float
) -> Outcome:
    """Prune after the sparse learning of DepGraph; `strength` is its `reg`."""
    torch.manual_seed(seed)
    network = from_flax(dense)
    pruner = torch_pruning.pruner.GroupNormPruner(
        network,
        torch.zeros(1, 1, 9, 9),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        reg=strength,
        global_pruning=True,
        pruning_ratio=0.99,
        iterative_steps=PRUNING_STEPS,
        ignored_layers=[network.logits],
    )
    rows = batches(seed, 1, steps.sparse, len(data.train[0]))
    train(network, data.train, rows, pruner)
    for _ in range(PRUNING_STEPS):
        if multiplications(network.widths) <= share * multiplications(WIDTHS):
            break
        pruner.step()
    train(network, data.train, batches(seed, 2, steps.tuned, len(data.train[0])))
    return Outcome(
        accuracy(network, data.test),
        multiplications(network.widths) / multiplications(WIDTHS),
        network.widths,
    )
