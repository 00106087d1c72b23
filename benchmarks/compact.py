"""Sampling speed and quality of compact generators, beside magnitude pruning of channels.

Run:      python benchmarks/compact.py --dense RUN … --sparse RUN … [--magnitude RUN …]
              [--torch-pruning RUN …]
          python benchmarks/compact.py --smoke   # makes runs of a few steps; keeps nothing

Each dense run stands beside the sparse one of the same place: the same experiment and seed, without
and with a group penalty. Of each pair these generators are called in turn: the dense one as
trained, the same with its norms folded, the sparse one compacted, and the dense one pruned to the
FLOPs of that: the channels whose weights, norms folded in, have the smallest ℓ2 norm relative to
the mean of their layer, over all layers at once, at least one left in each, in one shot at the end.
Beside them stand dense runs that were pruned in the middle of their training by `prune_run.py`, and
each DCGAN's generator in PyTorch, eager, with the same weights. Quality is the kernel distance to
real images, held-out ones where the run has them, on the features that `l1jax.evaluate` takes.
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from measure import RESULTS, alternate, quartiles, write_result

from l1jax.build import image_shape
from l1jax.compaction.compact_network import compact
from l1jax.compaction.verify_generator import verify
from l1jax.config import Dcgan
from l1jax.data.batches import shuffled_indices
from l1jax.data.opening import open_examples
from l1jax.data.source import take
from l1jax.evaluation.classifier import classifier_features
from l1jax.evaluation.features import extract_all, random_features
from l1jax.evaluation.kernel import kernel_distance
from l1jax.evaluation.source_classifier import make_classifier
from l1jax.models.layout.layout_network import TrainedGenerator
from l1jax.models.summary import layers
from l1jax.serialization.rebuild_generator import rebuild
from l1jax.train import main as train
from l1jax.training.keys import named_seed_key
from l1jax.training.sampling import draw_latents, make_sampler
from l1jax.training.saved_run import SavedRun, load_run
from l1jax.training.state import Average


def as_trained(run: SavedRun) -> TrainedGenerator:
    """A run's averaged generator with nothing removed."""
    generator = rebuild(run.experiment.model, image_shape(run.experiment.data), {})
    return TrainedGenerator(generator, run.state.average.params, run.state.average.batch_stats, {})


def flops(model: TrainedGenerator) -> int:
    """Of one image."""
    return sum(row.flops for row in layers(model.generator.network.init))


def columns(model: TrainedGenerator) -> dict[str, int]:
    """Map layers whose outputs can be removed to the number of outputs in one channel.

    The outputs of a dense layer in front of an image are those of one pixel after another.
    """
    nodes, found = model.layout["nodes"], {}
    for i, node in enumerate(nodes):
        if node["op"] not in ("dense", "conv") or node["name"].split("/")[-1] in (
            "image",
            "embedding",
        ):
            continue
        image = next((n["shape"] for n in nodes[i:] if len(n["shape"]) == 3), [1, 1, 1])
        projects = (
            node["op"] == "dense"
            and node["name"] == "project"
            and node["shape"] == [int(np.prod(image))]
        )
        found[node["name"]] = image[0] * image[1] if projects else 1
    return found


def at(tree: Any, name: str) -> dict[str, Any]:
    """The parameters of a layer."""
    for part in name.split("/"):
        tree = tree[part]
    return tree


def weakest(model: TrainedGenerator, share: float) -> dict[str, Any]:
    """Of each layer, which of its channels are among this share of the smallest."""
    norms = {}
    for name, repeats in columns(model).items():
        kernel = np.asarray(at(model.params, name)["kernel"])
        squares = np.square(kernel).reshape(-1, kernel.shape[-1]).sum(0).reshape(repeats, -1).sum(0)
        norms[name] = np.sqrt(squares) / np.sqrt(squares).mean()
    threshold = np.quantile(np.concatenate(list(norms.values())), share)
    return {name: (own < threshold) & (own < own.max()) for name, own in norms.items()}


def pruned(model: TrainedGenerator, share: float) -> TrainedGenerator:
    """Without this share of the channels, those of the smallest weights."""
    params, repeats = copy.deepcopy(jax.tree.map(np.asarray, model.params)), columns(model)
    for name, dead in weakest(model, share).items():
        own = at(params, name)
        for key in own:
            own[key] = np.where(np.tile(dead, repeats[name]), 0, own[key])
    return compact(model.generator, params, model.batch_stats)


def share_for(prune: Callable[[float], TrainedGenerator], most: int, bisections: int) -> float:
    """The share of channels that has to go for at most so many FLOPs."""
    low, high = 0.0, 1.0
    for _ in range(bisections):
        middle = (low + high) / 2
        low, high = (low, middle) if flops(prune(middle)) <= most else (middle, high)
    return high


def qualities(
    run: SavedRun, models: Mapping[str, TrainedGenerator], samples: int
) -> dict[str, Any]:
    """The kernel distance of each generator's images to real ones."""
    training, held_out = open_examples(
        run.experiment.data, run.experiment.holdout, run.experiment.cache
    )
    source = held_out or training
    real = take(source, np.sort(shuffled_indices(0, 0, min(samples, source.length), source.length)))
    classifier = make_classifier(run.experiment, training, print)
    fits = classifier is not None and classifier.shape == real.shape[1:]
    features = (
        classifier_features(classifier) if classifier is not None and fits else random_features()
    )
    seen, found = extract_all(features, real), {}
    for name, model in models.items():
        latents = draw_latents(model.generator, named_seed_key(0, "evaluation"), samples)
        images = make_sampler(model.generator)(Average(model.params, model.batch_stats), latents)
        found[name] = float(kernel_distance(seen.features, extract_all(features, images).features))
    return {
        "protocol": f"{features.protocol}; {len(real)} real images, {samples} generated",
        "kernel_distance": found,
    }


def in_torch(model: TrainedGenerator, batch: int) -> Callable[[], Any]:
    """A call of the DCGAN generator in PyTorch, its output that of ours."""
    import peers
    import torch

    network = peers.copied_dcgan(*model[:3])
    latents = np.array(draw_latents(model.generator, jax.random.key(1), batch))
    inputs = torch.tensor(latents)[:, :, None, None]

    def call() -> Any:
        with torch.inference_mode():
            return network(inputs)

    ours = model.generator.network.apply(model.params, model.batch_stats, latents, False)[0]
    np.testing.assert_allclose(call().permute(0, 2, 3, 1), ours, atol=1e-4)
    return call


def compare(
    dense: Path, sparse: Path, others: Mapping[str, Path], options: argparse.Namespace
) -> dict[str, Any]:
    """Speed, size and quality of one pair of runs, and of the dense one pruned in other ways."""
    runs = [load_run(folder, None, print) for folder in (dense, sparse, *others.values())]
    originals = [as_trained(run) for run in runs]
    folded, smaller, *rest = (compact(*original[:3]) for original in originals)
    models = {
        "dense": originals[0],
        "dense, folded": folded,
        "compact": smaller,
        **dict(zip(others, rest, strict=True)),
    }
    share = share_for(lambda share: pruned(folded, share), flops(smaller), options.bisections)
    models["magnitude at the end"] = pruned(folded, share)
    proof = verify(originals[1], smaller, jax.random.key(0), batch=options.batch, rounds=1)

    def call(model: TrainedGenerator) -> Any:
        sampler = make_sampler(model.generator)
        latents = draw_latents(model.generator, jax.random.key(1), options.batch)
        return lambda: sampler(Average(model.params, model.batch_stats), latents)

    calls = {name: call(model) for name, model in models.items()}
    if isinstance(runs[0].experiment.model, Dcgan):
        calls |= {
            f"{name} in PyTorch": in_torch(model, options.batch) for name, model in models.items()
        }
    seconds = alternate(calls, options.rounds)
    result: dict[str, Any] = {
        "runs": [*map(str, (dense, sparse, *others.values()))],
        "steps": [r.step for r in runs],
    }
    result["error"], result["channels"] = proof.error, proof.channels
    result["models"] = {
        name: {
            "images_per_second": quartiles(options.batch / seconds[name]),
            "times_as_fast_as_dense": quartiles(seconds["dense"] / seconds[name]),
            "flops": flops(model),
            "bytes": sum(
                leaf.nbytes for leaf in jax.tree.leaves((model.params, model.batch_stats))
            ),
        }
        for name, model in models.items()
    }
    for name in calls.keys() - models.keys():
        own = result["models"][name.removesuffix(" in PyTorch")]
        own["images_per_second_in_pytorch"] = quartiles(options.batch / seconds[name])
    result["quality"] = qualities(runs[0], models, options.samples)
    return result


def table(pairs: list[dict[str, Any]]) -> str:
    """A row for each generator of each pair."""
    head = ("generator", "images/s", "in PyTorch", "× dense", "FLOPs", "bytes", "kernel distance")
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for pair in pairs:
        for name, m in pair["models"].items():
            speed, times = m["images_per_second"]["median"], m["times_as_fast_as_dense"]["median"]
            peer = m.get("images_per_second_in_pytorch", {"median": float("nan")})["median"]
            cells = (
                f"{speed:,.0f}",
                f"{peer:,.0f}",
                f"{times:.2f}",
                f"{m['flops']:,}",
                f"{m['bytes']:,}",
            )
            rows.append(
                f"| {' | '.join((name, *cells))} | {pair['quality']['kernel_distance'][name]:.4g} |"
            )
    return "\n".join(rows)


BISECTIONS = 10  # for the share of the channels that is pruned
EXPERIMENT = """
from dataclasses import replace
from l1jax.cli.experiment_file import load_experiment
from l1jax.config import Adversarial, Dcgan, GroupL1

def get_config():
    digits = load_experiment("digits")
    generator = replace(digits.generator, penalty=GroupL1(0.0))
    model = Dcgan(latent_size=4, channels=2)
    return replace(digits, model=model, objective=Adversarial(), generator=generator)
"""


def few_steps(folder: Path) -> tuple[Path, Path]:
    """Make work directories of a dense run and a run with a group penalty.

    Both are DCGANs of a few channels.
    """
    config = folder / "experiment.py"
    config.write_text(EXPERIMENT)
    for name, strength in (("dense", "1e-9"), ("sparse", "1e-3")):
        train([*few_flags(config, folder / name, 2), "--generator.penalty.strength", strength])
    return folder / "dense", folder / "sparse"


def few_flags(config: Path, workdir: Path, steps: int) -> list[str]:
    """Flags of a run of few steps, whose generator's zeros stay zero after the second."""
    flags = {
        "--config": config,
        "--workdir": workdir,
        "--steps": steps,
        "--log-every": 2,
        "--sample-every": 2,
        "--checkpoint-every": 2,
        "--generator.debias-after": 2,
    }
    return [str(part) for pair in flags.items() for part in pair]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dense", type=Path, nargs="+", default=[], help="work directories of dense runs"
    )
    parser.add_argument(
        "--sparse", type=Path, nargs="+", default=[], help="those with a group penalty, in order"
    )
    parser.add_argument(
        "--magnitude", type=Path, nargs="+", default=[], help="those of the dense ones pruned so"
    )
    parser.add_argument(
        "--torch-pruning", type=Path, nargs="+", default=[], help="those pruned by Torch-Pruning"
    )
    parser.add_argument(
        "--samples", type=int, default=5_000, help="images that are compared with real ones"
    )
    parser.add_argument(
        "--batch", type=int, default=128, help="images of a call that is timed, at most 128"
    )
    parser.add_argument("--rounds", type=int, default=41)
    parser.set_defaults(bisections=BISECTIONS)
    parser.add_argument(
        "--output", type=Path, default=RESULTS / f"compaction-{jax.default_backend()}.json"
    )
    parser.add_argument("--smoke", action="store_true", help="runs of a few steps; keeps nothing")
    options = parser.parse_args(arguments)
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            dense, sparse = few_steps(Path(folder))
            options.batch, options.rounds, options.samples = 4, 1, 16
            options.bisections = 1
            print(table([compare(dense, sparse, {"magnitude": dense}, options)]))
        return
    if not options.dense or not options.sparse:
        parser.error(
            "`--dense` and `--sparse` must each name a work directory, unless `--smoke` is given."
        )
    pruned_by = {"magnitude": options.magnitude, "Torch-Pruning": options.torch_pruning}
    lengths = {len(runs) for runs in (options.dense, options.sparse, *pruned_by.values()) if runs}
    if len(lengths) > 1:
        parser.error(
            f"each flag must name as many runs as the others; these name {sorted(lengths)}."
        )
    pairs = [
        compare(dense, sparse, {name: runs[i] for name, runs in pruned_by.items() if runs}, options)
        for i, (dense, sparse) in enumerate(zip(options.dense, options.sparse, strict=True))
    ]
    command = "python benchmarks/compact.py " + " ".join(arguments or sys.argv[1:])
    write_result(
        options.output, command, {"batch": options.batch, "rounds": options.rounds, "pairs": pairs}
    )
    print(table(pairs))


if __name__ == "__main__":
    main()
