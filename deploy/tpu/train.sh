#!/usr/bin/env bash
# Train on all workers of a Cloud TPU slice. Not tried on a TPU.
#
#     NAME=l1jax ZONE=us-west4-a ACCELERATOR=v5litepod-16 SHARED=10.0.0.2:/runs \
#         deploy/tpu/train.sh --config celeba --workdir /mnt/runs/celeba
#
# SHARED is an NFS export that every worker reaches, such as a Filestore instance's. The same command
# resumes a run whose slice was preempted: the slice is created again if it is gone.
set -euo pipefail
: "${NAME:?}" "${ZONE:?}" "${ACCELERATOR:?}" "${SHARED:?}"
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite} # goes with the accelerator
cd "$(dirname "$0")/../.."

on_every_worker() {
  gcloud compute tpus tpu-vm ssh "$NAME" --zone "$ZONE" --worker=all --command "$1"
}

if ! gcloud compute tpus tpu-vm describe "$NAME" --zone "$ZONE" >/dev/null 2>&1; then
  gcloud compute tpus tpu-vm create "$NAME" --zone "$ZONE" \
    --accelerator-type "$ACCELERATOR" --version "$RUNTIME"
fi
archive=$(mktemp -d)/l1jax.tar.gz
git archive --format=tar.gz --output "$archive" HEAD
gcloud compute tpus tpu-vm scp "$archive" "$NAME:l1jax.tar.gz" --zone "$ZONE" --worker=all
on_every_worker "set -e
  sudo mkdir -p /mnt/runs
  mountpoint -q /mnt/runs || { sudo apt-get install -y -q nfs-common; sudo mount '$SHARED' /mnt/runs; }
  mkdir -p l1jax && tar -xzf l1jax.tar.gz -C l1jax
  python3 -m venv venv && venv/bin/pip install -q './l1jax[train,tpu]'"
on_every_worker "venv/bin/python -m l1jax.train --distributed $(printf '%q ' "$@")"
