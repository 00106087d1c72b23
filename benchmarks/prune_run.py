"""Prune channels of a DCGAN generator in the middle of its dense training.

The run goes on without them.

Run:      python benchmarks/prune_run.py --run DENSE --step N --like SPARSE --by magnitude \\
              --output PRUNED
          python -m l1jax.train --workdir PRUNED …   (with the flags of the dense run)
          python benchmarks/prune_run.py --smoke   # a run of a few steps; keeps nothing

As many channels go as it takes to get to the FLOPs of the sparse run's compact generator: by
"magnitude" as in `compact.py`, or those that "torch-pruning" takes from the same network in PyTorch
(`pip install torch-pruning`; its group magnitude, all layers ranked together). The weights that
read them become zero, in training and in the average, and stay so: the dense run has
`--generator.debias-after N`, which keeps what is zero from then on.
"""

import argparse
import importlib.util
import json
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
import peers
import torch
from compact import BISECTIONS, as_trained, few_flags, few_steps, flops, share_for, train, weakest

from l1jax.compaction.compact_network import compact
from l1jax.models.layout.layout_network import TrainedGenerator
from l1jax.training.checkpoint import open_checkpoints
from l1jax.training.saved_run import load_run

Dead = dict[str, np.ndarray]  # layer → which of its channels go


def by_magnitude(model: TrainedGenerator, share: float) -> Dead:
    """Those of the smallest weights, norms folded in."""
    return weakest(compact(*model[:3]), share)


def by_torch_pruning(model: TrainedGenerator, share: float) -> Dead:
    """Those that Torch-Pruning takes."""
    import torch_pruning

    network = peers.copied_dcgan(*model[:3])
    layers = {
        str(i): layer
        for i, layer in enumerate(network)
        if isinstance(layer, torch.nn.ConvTranspose2d)
    }
    names = dict(
        zip(
            layers,
            ["project", *(f"deconv_{i}" for i in range(1, len(layers) - 1)), "image"],
            strict=True,
        )
    )
    dead = {
        name: np.zeros(layers[i].out_channels, bool) for i, name in names.items() if name != "image"
    }
    pruner = torch_pruning.pruner.BasePruner(
        network,
        torch.zeros(1, model.generator.latent_size, 1, 1),
        torch_pruning.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=share,
        ignored_layers=[network[-2]],
    )
    pruner.step()
    for i, outputs, channels in pruner.pruning_history():
        assert outputs, f"inputs of layer {i} were pruned"
        dead[names[i]][channels] = True
    return dead


BY = {"magnitude": by_magnitude, "torch-pruning": by_torch_pruning}


def silence(params: Any, dead: Dead) -> Any:
    """The parameters with zeros wherever these channels are read."""
    names = [*sorted(dead, key=lambda name: (name != "project", name)), "image"]
    readers = dict(pairwise(names))
    changed = {
        readers[name]: {
            **params[readers[name]],
            "kernel": np.where(own[:, None], 0, params[readers[name]]["kernel"]),
        }
        for name, own in dead.items()
    }
    return jax.tree.map(
        lambda leaf, new: jax.device_put(new.astype(leaf.dtype)), params, {**params, **changed}
    )


def prune_run(
    dense: Path, step: int, like: Path, by: str, output: Path, bisections: int = BISECTIONS
) -> None:
    """Prune the dense run's checkpoint of this step to the FLOPs of the other run.

    The result is a run of its own.
    """
    run = load_run(dense, step, print)
    sparse = as_trained(load_run(like, None, print))
    model = as_trained(run)
    most = flops(compact(*sparse[:3]))

    def prune(share: float) -> TrainedGenerator:
        dead = BY[by](model, share)
        return compact(model.generator, silence(model.params, dead), model.batch_stats)

    dead = BY[by](model, share_for(prune, most, bisections))
    generator = run.state.generator
    average = run.state.average
    state = run.state._replace(
        generator=generator._replace(params=silence(generator.params, dead)),
        average=average._replace(params=silence(average.params, dead)),
    )
    (output / "checkpoints").mkdir(parents=True)
    shutil.copy(dense / "config.json", output)
    metadata = dense / "checkpoints" / str(run.step) / "meta" / "metadata"
    fingerprint = json.loads(metadata.read_text())["fingerprint"]
    checkpoints = open_checkpoints(output, run.experiment, fingerprint, print)
    checkpoints.save(run.step, state, np.inf)
    checkpoints.close()
    print({name: f"{own.sum()} of {len(own)} channels" for name, own in dead.items()})


def smoke() -> None:
    """Prune a run of two steps in each way that is installed, and train on for two more."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dense, sparse = few_steps(folder)
        for by in BY:
            if by == "torch-pruning" and not importlib.util.find_spec("torch_pruning"):
                print("torch-pruning is not installed")
                continue
            prune_run(dense, 2, sparse, by, folder / by, bisections=1)
            flags = few_flags(folder / "experiment.py", folder / by, steps=4)
            assert train([*flags, "--generator.penalty.strength", "1e-9"]) == 0, (
                "the run must go on"
            )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="work directory of the dense run")
    parser.add_argument("--step", type=int, help="its checkpoint that is pruned")
    parser.add_argument("--like", type=Path, help="work directory of the sparse run")
    parser.add_argument("--by", choices=BY, default="magnitude")
    parser.add_argument("--output", type=Path, help="work directory of the pruned run; must be new")
    parser.add_argument("--smoke", action="store_true", help="a run of a few steps; keeps nothing")
    options = parser.parse_args(arguments)
    if options.smoke:
        smoke()
        return
    needed = ("run", "step", "like", "output")
    missing = [f"--{name}" for name in needed if getattr(options, name) is None]
    if missing:
        parser.error(f"{', '.join(missing)} must be given, unless `--smoke` is.")
    prune_run(options.run, options.step, options.like, options.by, options.output)


if __name__ == "__main__":
    main()
