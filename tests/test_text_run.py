"""A run of text from the command line: trained, resumed, sampled, and refused by other commands."""

import json
import math
import shutil

import numpy as np
import pytest
from card_code import run_card
from safetensors.numpy import load_file

from l1jax import evaluate, export, report, sample, select, train
from l1jax.config import InputError
from l1jax.serialization import read_model

TINY = (
    "--data topics --model transformer --objective next-token "
    "--data.window 8 --model.context 8 --model.width 8 --model.heads 2 --model.layers 1 "
    "--batch-size 8 --holdout 0.1 --log-every 2 --sample-every 4 --checkpoint-every 4"
).split()

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("text") / "run"
    assert train.main(["--workdir", str(workdir), *TINY, "--steps", "4"]) == 0
    return workdir


def error(main, *arguments):
    with pytest.raises(InputError) as caught:
        main(arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def draw(trained, output, *more):
    assert sample.main(["--workdir", str(trained), "--output", str(output), *more]) == 0
    return output.read_text(encoding="utf-8")


def test_metrics_are_in_bits_and_tokens_and_samples_are_text(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[0]["bits_per_byte"] == pytest.approx(8.5, abs=0.7)  # nearly noise
    assert lines[1]["held_out/bits_per_byte"] == pytest.approx(8.5, abs=0.7)
    assert lines[1]["tokens_per_second"] > 0
    assert 0 <= lines[1]["generator/sparsity"] < 1
    assert "generator/spread" not in lines[1]
    pages = sorted(path.name for path in (trained / "samples").iterdir())
    assert pages == ["step_000000.txt", "step_000004.txt"]


@pytest.mark.slow
def test_samples_begin_with_the_prompt_and_end_with_a_whole_character(trained, tmp_path):
    flags = ("--prompt", "é 😀", "--length", "9", "--temperature", "3")
    lines = draw(trained, tmp_path / "a.jsonl", *flags, "--count", "5").splitlines()
    samples = [json.loads(line) for line in lines]
    assert all(s["text"].startswith("é 😀") for s in samples)
    assert len({s["text"] for s in samples}) > 1
    assert {type(s["is_finished"]) for s in samples} == {bool}
    fewer = draw(trained, tmp_path / "b.jsonl", *flags, "--count", "5", "--seed", "0")
    assert fewer.splitlines() == lines
    page = draw(trained, tmp_path / "a.txt", *flags, "--count", "5")
    assert all(s["text"] in page for s in samples)


@pytest.fixture(scope="module")
def exported(trained):
    folder = trained.parent / "model"
    flags = ("--onnx", "--stablehlo", "--circuit", "--licence=apache-2.0")
    assert export.main([f"--workdir={trained}", f"--output={folder}", *flags]) == 0
    return folder


@pytest.mark.slow
def test_an_exported_model_draws_the_same_samples(trained, exported, tmp_path):
    flags = ("--prompt", "The", "--length", "9", "--count", "3")
    wanted = draw(trained, tmp_path / "a.txt", *flags)
    weights = exported / "model.safetensors"
    for where in (f"--model={exported}", f"--model={weights}", f"--workdir={exported}"):
        output = tmp_path / "b.txt"
        assert sample.main([where, f"--output={output}", *flags]) == 0
        assert output.read_text(encoding="utf-8") == wanted


@pytest.mark.slow
def test_the_card_of_a_language_model_runs_as_it_is_written(exported, tmp_path, monkeypatch):
    folder = shutil.copytree(exported, tmp_path / "model")
    python, _, stablehlo, graph, again = run_card(folder, monkeypatch)
    assert len(python["texts"]) == 8
    assert (folder / "samples.txt").exists()
    assert graph["logits"].shape == (1, 10, 257)
    np.testing.assert_allclose(stablehlo["logits"], graph["logits"], atol=1e-4)
    assert again["get_config"]() == python["model"].experiment


@pytest.mark.slow
def test_an_exported_model_is_evaluated_and_exported_again_in_fewer_bytes(exported, tmp_path):
    output = tmp_path / "evaluation.json"
    flags = (f"--model={exported}", f"--output={output}", "--samples=16", "--seeds=1")
    assert evaluate.main(flags) == 0
    held_out = json.loads(output.read_text())["text"]["held_out"]["mean"]
    assert held_out == pytest.approx(math.log2(257), abs=1)
    assert evaluate.main([f"--again={output}"]) == 0  # 1 if a number is another
    small = tmp_path / "small"
    flags = ("--encoding=sparse", "--values=int8")
    assert export.main([f"--model={exported}", f"--output={small}", *flags]) == 0
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (exported, small)]
    assert sizes[1] < sizes[0] / 2


def test_the_circuit_and_the_card_are_those_of_the_weights(exported):
    tensors = load_file(exported / "model.safetensors")
    nonzeros = sum(int((value != 0).sum()) for n, value in tensors.items() if "/kernel" in n)
    rows = [json.loads(line) for line in (exported / "circuit.jsonl").read_text().splitlines()]
    assert len(rows) == nonzeros
    row = rows[5]
    kernel = tensors[f"params/{row['layer']}/kernel"]
    assert kernel[row["input"], row["output"]] == pytest.approx(row["weight"])
    assert (exported / "circuit.svg").read_text().count("M") == nonzeros + 8  # values to heads
    card = (exported / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "pipeline_tag: text-generation" in card


def test_what_an_exported_model_cannot_do_is_refused(exported, tmp_path):
    program = f"--model={exported / 'model.onnx'}"
    assert "computes logits for other tools" in error(sample.main, program)
    assert "`--step` (=3)" in error(sample.main, f"--model={exported}", "--step=3")
    with pytest.raises(InputError, match="is a model of text, and this command works on images"):
        read_model(exported)
    damaged = tmp_path / "damaged"
    shutil.copytree(exported, damaged)
    (damaged / "model.safetensors").write_bytes(b"0" * 100)
    assert "is damaged" in error(sample.main, f"--model={damaged}")


def test_flags_without_a_meaning_here_are_refused(trained, tmp_path):
    workdir = f"--workdir={trained}"
    assert "`--class` (=3) is for images" in error(sample.main, workdir, "--class=3")
    refused = error(sample.main, workdir, "--truncation=0.5")
    assert "`--truncation` (=0.5) is for images; of text there are --temperature" in refused
    assert "`--top-p` (=0.0) must be above 0" in error(sample.main, workdir, "--top-p=0")
    assert "`--length` (=0)" in error(sample.main, workdir, "--length=0")
    assert "must be UTF-8" in error(sample.main, workdir, "--prompt=\udcff")
    assert ".txt or .jsonl" in error(sample.main, workdir, f"--output={tmp_path / 'a.png'}")


def test_a_flag_of_images_is_refused_for_a_run_of_text(trained):
    assert "`--inception`" in error(evaluate.main, f"--workdir={trained}", "--inception=x")
    assert "`--method`" in error(evaluate.main, f"--workdir={trained}", "--method=euler")


def test_what_does_not_go_together_is_refused(tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    assert "`model` (=MlpGan)" in error(train.main, workdir, "--data=topics")
    assert "`model` (=Transformer)" in error(train.main, workdir, "--model=transformer")
    longer = (*TINY, "--model.context", "9")
    assert "`model.context` (=9)" in error(train.main, workdir, *longer)
    assert "`width` (=8)" in error(train.main, workdir, *TINY, "--model.heads=3")
    assert "`flip`" in error(train.main, workdir, *TINY, "--flip")
    assert "`data.window` (=1000000)" in error(train.main, workdir, *TINY, "--data.window=1000000")


@pytest.mark.slow
def test_an_evaluation_has_the_likelihood_the_samples_and_the_zeros(trained, tmp_path, capsys):
    output = tmp_path / "evaluation.json"
    flags = (f"--workdir={trained}", f"--output={output}", "--samples=16", "--seeds=2")
    assert evaluate.main(flags) == 0
    result = json.loads(output.read_text())
    text = result["text"]
    # After four steps it still gives all of the 257 tokens about the same probability.
    for half in ("held_out", "training"):
        assert text[half]["mean"] == pytest.approx(math.log2(257), abs=1)
    assert text["held_out"]["tokens"] >= text["training"]["tokens"] > 20_000
    low, high = text["held_out"]["interval"]
    assert low < text["held_out"]["mean"] < high
    assert text["samples"]["distinct_1"]["mean"] > 0.9  # noise
    assert text["copied"]["length"] < text["copied_by_real"]["length"]
    assert text["units"] == {"heads": 2, "heads_alive": 2, "units": 24, "units_alive": 24}
    assert text["bytes_per_second"] > 0
    assert 0 < result["zeros"]["kernels"] < 0.01  # of four steps under the default penalty
    assert "held-out bits per byte" in capsys.readouterr().out


PATH = [*TINY, "--steps=4", "--strengths=1e-3,3e-1", "--no-dense"]


@pytest.mark.slow
def test_the_strength_is_chosen_by_held_out_bits(tmp_path, capsys):
    workdir = tmp_path / "path"
    assert select.main([*PATH, f"--workdir={workdir}", "--folds=2", "--rule=minimum"]) == 0
    path = json.loads((workdir / "path.json").read_text())
    assert path["criterion"] == "bits_per_byte"
    assert "2 folds, each held out in turn" in path["protocol"]
    scores = [point["scores"]["bits_per_byte"] for point in path["points"]]
    assert [len(score["each"]) for score in scores] == [2, 2]
    assert path["chosen"]["index"] == min((0, 1), key=lambda i: scores[i]["mean"])
    assert path["points"][1]["zeros"] > path["points"][0]["zeros"]
    assert (workdir / "samples.txt").read_text().count("════ ") == 2
    chosen = path["chosen"]["strength"]
    config = json.loads((workdir / f"refit-{chosen:.4g}" / "config.json").read_text())
    assert config["generator"]["penalty"]["strength"] == chosen
    assert "bits per byte" in capsys.readouterr().out
    page = tmp_path / "report.html"
    assert report.main([f"--workdir={workdir}", f"--output={page}"]) == 0


@pytest.mark.slow
def test_information_criteria_are_of_the_exact_likelihood(tmp_path):
    workdir = tmp_path / "path"
    flags = (f"--workdir={workdir}", "--no-refit")
    assert select.main([*PATH, *flags, "--criterion=bic"]) == 0
    path = json.loads((workdir / "path.json").read_text())
    examples = path["examples"]
    assert 300_000 < examples < 500_000  # bytes and ends of documents, without the held-out ones
    for point in path["points"]:
        nats = point["scores"]["log_likelihood"]["mean"]
        assert nats == pytest.approx(-math.log(2) * point["scores"]["bits_per_byte"]["mean"])
        price = math.log(examples) * point["nonzeros"]
        wanted = -2 * examples * nats + price
        assert point["scores"]["bic"]["mean"] == pytest.approx(wanted, rel=1e-6)
    assert "`--criterion` (=recall)" in error(select.main, *PATH, *flags, "--criterion=recall")


def test_a_report_shows_the_last_samples(trained, tmp_path):
    page = tmp_path / "report.html"
    assert report.main([f"--workdir={trained}", f"--output={page}"]) == 0
    text = page.read_text()
    assert "Bits per byte of text" in text
    assert "──── 1 ────" in text
