"""The files of `deploy/` that cannot be run here are at least well-formed and fit together."""

import copy
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from l1jax import train

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
VERSION = "1.33"  # of Kubernetes, whose schema is taken


def documents(path):
    return list(yaml.safe_load_all(path.read_text()))


def job():
    """The Job of train.yaml, and its one container."""
    (found,) = [d for d in documents(DEPLOY / "kubernetes" / "train.yaml") if d["kind"] == "Job"]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    return found, container


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_fits_the_schema_of_kubernetes(path):
    for document in documents(path):
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize(("old", "new"), [("parallelism", "paralelism"), ("completions", None)])
def test_the_schema_refuses_what_is_misspelled_or_of_the_wrong_type(old, new):
    wrong = copy.deepcopy(job()[0])
    value = wrong["spec"].pop(old)
    wrong["spec"][new or old] = value if new else "two"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_the_pods_of_the_job_find_each_other():
    found, container = job()
    spec = found["spec"]
    name = found["metadata"]["name"]
    (service,) = [
        d for d in documents(DEPLOY / "kubernetes" / "train.yaml") if d["kind"] == "Service"
    ]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    arguments = dict(argument.split("=", 1) for argument in container["args"][1:])
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == int(arguments["--processes"])
    host, port = arguments["--coordinator"].split(":")
    assert host == f"{name}-0.{service['metadata']['name']}"
    assert port.isdigit()
    assert arguments["--process"] == "$(JOB_COMPLETION_INDEX)"


def test_the_job_mounts_the_claim_and_trains_into_it():
    found, container = job()
    (claim,) = documents(DEPLOY / "kubernetes" / "storage.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    volumes = {v["name"]: v for v in found["spec"]["template"]["spec"]["volumes"]}
    mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    shared = volumes[mounts["/runs"]]["persistentVolumeClaim"]["claimName"]
    assert shared == claim["metadata"]["name"]
    arguments = dict(argument.split("=", 1) for argument in container["args"][1:])
    assert arguments["--workdir"].startswith("/runs/")


def test_the_flags_of_the_job_are_flags_of_train(tmp_path, capsys):
    """They are parsed; the address is taken out, at which nobody answers."""
    _, container = job()
    assert container["args"][0] == "train"
    flags = [a for a in container["args"][1:] if not a.startswith(("--coordinator", "--process"))]
    flags = [f"--workdir={tmp_path}" if a.startswith("--workdir") else a for a in flags]
    assert train.main([*flags, "--summary"]) == 0
    assert "generator" in capsys.readouterr().out


def test_the_image_has_every_file_that_the_package_is_built_from():
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    copied = set()
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        copied |= set(line.split()[:-1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {*wheel["packages"], *wheel["force-include"]}
    assert copied == needed
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    kept = [line[1:] for line in ignored if line.startswith("!")]
    for name in needed:
        assert (ROOT / name).exists()
        assert any(fnmatch(name, pattern) for pattern in kept), f"{name} does not reach the build"


def test_the_variants_of_the_image_are_extras():
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    variants = [names.split(",") for names in re.findall(r"EXTRAS=([\w,]+)", text)]
    assert ["train"] in variants
    for extras in variants:
        assert "train" in extras
        assert set(extras) <= set(project["optional-dependencies"])
    assert text.splitlines()[-2] == 'ENTRYPOINT ["l1jax"]'
    assert "l1jax" in project["scripts"]


@pytest.mark.parametrize("path", [DEPLOY / "tpu/train.sh", DEPLOY / "slurm/train.sbatch"], ids=str)
def test_a_script_is_one_for_bash(path):
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize("path", [*MANIFESTS, DEPLOY / "tpu/train.sh"], ids=lambda path: path.name)
def test_what_was_not_tried_says_so(path):
    assert "Not tried on a" in path.read_text()
