"""The command that converts public weights."""

import hashlib

import numpy as np
import pytest
import torch
from random_inception_weights import random_tensors

from l1jax import convert as command
from l1jax.config import InputError
from l1jax.evaluation.inception import inception_features
from l1jax.evaluation.tensors import load_tensors
from l1jax.evaluation.weight_files import PUBLIC_FILES, SOURCE


@pytest.fixture(scope="module")
def tensors():
    return random_tensors(seed=1)


@pytest.fixture(scope="module")
def source(tensors, tmp_path_factory):
    """Random weights in the layout of pytorch-fid's file: before PyTorch 1.6, with counters."""
    path = tmp_path_factory.mktemp("source") / "weights.pth"
    state = {name: torch.from_numpy(value) for name, value in tensors.items()}
    state |= {
        f"{name[:-4]}num_batches_tracked": torch.tensor(0)
        for name in state
        if name.endswith("bn.bias")
    }
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_the_public_file_is_recognised_by_its_hash(tensors, source, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PUBLIC_FILES, sha256(source), "Inception-v3 of tests")
    assert command.main([str(source), "--output", str(tmp_path / "w.safetensors")]) == 0
    assert "the public weights of Inception-v3 of tests" in capsys.readouterr().out
    found, metadata = load_tensors(tmp_path / "w.safetensors")
    assert metadata[SOURCE] == sha256(source)
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)
    assert (
        f"weights {sha256(source)[:8]}" in inception_features(tmp_path / "w.safetensors").protocol
    )


def test_another_file_is_refused_unless_allowed(source, capsys):
    with pytest.raises(
        InputError, match=f"public file.*CLIP ViT-B/32.*sha256 {sha256(source)}.*--any-weights"
    ):
        command.main([str(source)])
    converted = source.with_suffix(".safetensors")
    assert not converted.exists()
    assert command.main([str(source), "--any-weights"]) == 0
    assert "compare with no others" in capsys.readouterr().out
    assert converted.exists()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("w.pth", "w"),
        ("w.pt", "w"),
        ("weights-0.003", "weights-0.003"),
        ("v1.0.pth", "v1.0"),
        ("w", "w"),
    ],
)
def test_only_suffixes_of_pytorch_are_removed_from_the_name(name, wanted, tmp_path):
    assert command.default_output(tmp_path / name) == tmp_path / f"{wanted}.safetensors"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.pth"], "`FILE` .*No such file"),
        ([""], "`FILE` is empty"),
        ([], "FILE"),
        (["FILE", "--output", "w.bin"], r"must end in \.safetensors"),
        (
            ["FILE", "--any-weights", "--output", "no/such/w.safetensors"],
            "`--output` .*in a folder that exists",
        ),
        (["FILE", "--any"], "`--any` is not a flag"),
    ],
)
def test_what_cannot_be_done_is_refused(source, arguments, words):
    with pytest.raises(InputError, match=words):
        command.main([str(source) if a == "FILE" else a for a in arguments])


def test_another_networks_weights_are_refused(tmp_path):
    torch.save({"fc.weight": torch.ones(3)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"must hold the tensors of Inception-v3, .* and holds 1"):
        command.main([str(tmp_path / "w.pth"), "--any-weights"])
    assert list(tmp_path.iterdir()) == [tmp_path / "w.pth"]
