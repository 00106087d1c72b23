"""Convert the public weights of Inception-v3, DINOv2 and CLIP to safetensors.

Run: python -m l1jax.convert pt_inception-2015-12-05-6726825d.pth
"""

from l1jax.cli.early_answers import answer_early, check_model_flags
from l1jax.cli.options import ConvertOptions

if __name__ == "__main__":
    answer_early(check_model_flags(ConvertOptions, "python -m l1jax.convert"))


from collections.abc import Sequence
from pathlib import Path

from l1jax.cli.flags import parse, parse_path
from l1jax.cli.process import run_command
from l1jax.evaluation.weight_files import PUBLIC_FILES, convert_weights
from l1jax.terminal import make_console, make_say


def main(arguments: Sequence[str]) -> int:
    """Convert as the flags say and return the exit status."""
    options = parse(ConvertOptions, arguments, "python -m l1jax.convert")
    source = parse_path("FILE", options.file)
    output = default_output(source)
    if options.output is not None:
        output = parse_path("--output", options.output)
    sha256 = convert_weights(source, output, any_weights=options.any_weights)
    description = f"weights {sha256[:8]}…, whose distances compare with no others"
    if sha256 in PUBLIC_FILES:
        description = f"the public weights of {PUBLIC_FILES[sha256]}"
    say = make_say(make_console())
    say(f"{output}: {description}")
    return 0


def default_output(source: Path) -> Path:
    """Return the name of the converted file; of the suffixes only those of PyTorch are removed."""
    stem = source.name.removesuffix(".pth").removesuffix(".pt")
    return source.with_name(f"{stem}.safetensors")


if __name__ == "__main__":
    run_command(main)
