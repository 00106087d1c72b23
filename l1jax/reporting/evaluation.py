"""An evaluation as tables in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

ROWS = {
    "frechet_distance": "Fréchet ↓",
    "kernel_distance": "kernel ↓",
    "precision": "precision ↑",
    "recall": "recall ↑",
    "density": "density ↑",
    "coverage": "coverage ↑",
    "novelty": "novelty",
    "inception_score": "inception ↑",
}


def show_evaluation(result: Mapping[str, Any], console: Console) -> None:
    """Print the result of `l1jax.evaluate`: scores on each kind of features, modes, zeros, and how they were taken."""
    views = result.get("features", {})
    if views:
        for table in _tables(f"Step {result['step']:,}", views, console):
            console.print(table)
        for name, view in views.items():
            _say(console, f"{name}: {view['protocol']}")
    for line in lines(result):
        _say(console, line)
    _zeros(result["zeros"], console)
    protocol = result["protocol"]
    _say(console, f"real: {protocol['real']}; generated: {protocol['generated']}")


def _tables(heading: str, views: Mapping[str, Any], console: Console) -> list[Table]:
    """As many views beside each other in a table as the console has room for, at least one."""
    unlimited = console.options.update_width(10_000)
    tables: list[Table] = []
    beside: dict[str, Any] = {}
    for name, view in views.items():
        wider = _scores(heading, {**beside, name: view})
        fits = console.measure(wider, options=unlimited).maximum <= console.width
        if beside and fits:
            tables[-1] = wider
            beside[name] = view
        else:
            tables.append(_scores(heading, {name: view}))
            beside = {name: view}
    return tables


def _scores(heading: str, views: Mapping[str, Any]) -> Table:
    """The scores of some views, each beside those of the real images' halves."""
    table = Table(title=heading, title_justify="left")
    table.add_column("", no_wrap=True)
    for name, view in views.items():
        table.add_column(title(name, view).replace(", ", "\n"), justify="right", no_wrap=True)
        table.add_column("real halves", justify="right", style="dim", no_wrap=True)
    for score, label in ROWS.items():
        if any(score in view for view in views.values()):
            table.add_row(label, *(text for view in views.values() for text in cells(view, score)))
    return table


def title(name: str, view: Mapping[str, Any]) -> str:
    """The heading of a view's scores; a classifier's has its accuracy, without which its scores mean little."""
    return f"{name}, held-out accuracy {view['accuracy']:.3f}" if "accuracy" in view else name


def lines(result: Mapping[str, Any]) -> list[str]:
    """What a result says besides its scores on features: modes, similarity, likelihood, remarks."""
    lines = []
    if modes := result.get("modes"):
        lines.append(f"modes reached: {number(modes['modes'])} of {modes['of']:,}")
        if "high_quality" in modes:
            lines.append(
                f"within three standard deviations of a mode: {number(modes['high_quality'])}"
            )
        divergence = f"reverse divergence of the modes' shares: {number(modes['reverse_kl'])} nats"
        by = (
            f", classes by a classifier of held-out accuracy {modes['accuracy']:.4f}"
            if "accuracy" in modes
            else ""
        )
        lines.append(divergence + by)
    if images := result.get("images"):
        of_real = images["ms_ssim_of_real"]
        lines.append(
            f"multi-scale similarity of pairs: {number(images['ms_ssim'])}, of real ones {of_real:.3g}"
        )
    if bound := result.get("likelihood"):
        nats = f"{bound['nats']:.4g} ± {bound['standard_error']:.1g} nats"
        lines.append(
            f"log-likelihood at least {nats}, {bound['bits_per_dimension']:.4g} bits/dim ({bound['protocol']})"
        )
    return [*lines, *result.get("remarks", [])]


def _zeros(zeros: Mapping[str, Any], console: Console) -> None:
    table = Table(title="Zeros", title_justify="left")
    for name in ("kernel", "entries", "zeros", "dead outputs", "FLOPs", "left"):
        table.add_column(name, justify="left" if name == "kernel" else "right")
    for layer in zeros["layers"]:
        share = layer["zeros"] / max(layer["entries"], 1)
        left = layer["effective_flops"] / max(layer["flops"], 1)
        dead = f"{layer['dead_outputs']:,} of {layer['outputs']:,}"
        name = layer["path"].removesuffix("/kernel")
        table.add_row(
            name,
            f"{layer['entries']:,}",
            f"{share:.1%}",
            dead,
            f"{layer['flops']:,}",
            f"{left:.1%}",
        )
    console.print(table)
    parameters = f"{zeros['effective_parameters']:,} of {zeros['parameters']:,} parameters"
    size = f"{zeros['compressed_bytes']:,} of {zeros['bytes']:,} bytes"
    _say(
        console,
        f"kernels: {zeros['kernels']:.2%} zeros; left are {parameters}, and with a bitmask {size}",
    )


def cells(view: Mapping[str, Any], score: str) -> tuple[str, str]:
    """Format a score of some features, and the same score of the real images' halves."""
    if score not in view:
        return "", ""
    floor = view["between_real_halves"].get(score)
    return number(view[score]), "" if floor is None else f"{floor:.3g}"


def number(value: Mapping[str, Any]) -> str:
    """A mean and its deviation."""
    deviation = value["deviation"]
    return f"{value['mean']:.4g}" + ("" if deviation is None else f" ± {deviation:.1g}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
