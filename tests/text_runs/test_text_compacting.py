"""A run of text whose feed-forward units have died is compacted, and its folder is used."""

import json

import pytest
from safetensors.numpy import load_file

from l1jax import compact, evaluate, export, sample, train
from l1jax.config import InputError

TINY = (
    "--data topics --model transformer --objective next-token "
    "--data.window 8 --model.context 8 --model.width 8 --model.heads 2 --model.layers 2 "
    "--batch-size 8 --holdout 0.1 --log-every 2 --sample-every 4 --checkpoint-every 4 --steps 4 "
    "--generator.penalty group-l1 --generator.penalty.groups channels "
    "--generator.penalty.strength 1e4 --generator.penalised block_0/feed_forward"
).split()

pytestmark = [pytest.mark.usefixtures("one_device"), pytest.mark.slow]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("text") / "run"
    assert train.main(["--workdir", str(workdir), *TINY]) == 0
    return workdir


def test_dead_units_are_removed_and_every_command_takes_the_folder(trained, tmp_path, capsys):
    folder = tmp_path / "compact"
    assert compact.main([f"--workdir={trained}", f"--output={folder}", "--batch=2"]) == 0
    said = capsys.readouterr().out
    assert "the same logits: over 128 tokens" in said
    tensors = load_file(folder / "model.safetensors")
    assert not [name for name in tensors if "block_0/feed_forward" in name]
    assert [name for name in tensors if "block_1/feed_forward" in name]
    described = json.loads((folder / "config.json").read_text())
    hidden = described["experiment"]["model"]["block_hidden"]
    assert hidden[0] == 0
    assert hidden[1] > 0
    notes = described["notes"]["compaction"]
    assert notes["error"] < 1e-5
    assert notes["after"]["units"] == hidden[1]

    def draw(where):
        output = tmp_path / "samples.jsonl"
        flags = [where, f"--output={output}", "--length=20", "--temperature=0", "--count=2"]
        assert sample.main(flags) == 0
        return output.read_text()

    assert draw(f"--model={folder}") == draw(f"--workdir={trained}")
    again = tmp_path / "again"
    flags = [f"--model={folder}", f"--output={again}", "--stablehlo", "--circuit"]
    assert export.main(flags) == 0
    assert (again / "model.stablehlo").exists()
    scores = tmp_path / "scores.json"
    flags = [f"--model={folder}", "--samples=16", "--seeds=1", f"--output={scores}"]
    assert evaluate.main(flags) == 0
    units = json.loads(scores.read_text())["text"]["units"]
    assert units["units"] == units["units_alive"] == hidden[1]


def test_a_flag_of_images_is_refused(trained, tmp_path):
    flags = [f"--workdir={trained}", f"--output={tmp_path / 'new'}", "--no-fold-norms"]
    with pytest.raises(InputError, match="`--no-fold-norms` is for batch norms"):
        compact.main(flags)
