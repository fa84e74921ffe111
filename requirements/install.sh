#!/usr/bin/env bash
# Installs krpo and everything it needs into $VENV: the pinned CPU set, or the GPU builds where there is an NVIDIA GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3} VENV=${VENV:-.venv}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "krpo needs Python 3.11 or newer; $PYTHON is $("$PYTHON" --version 2>&1). Name another with: make PYTHON=python3.12 ..." >&2
  exit 2
}
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }

if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1 && [ -z "${KRPO_CPU:-}" ]; then
  echo "installing the GPU builds into $VENV (KRPO_CPU=1 installs the CPU set instead)"
  pip install -q -e ".[vllm,dev]"
  exit
fi

echo "installing the pinned CPU set into $VENV"
# --no-deps: the lock is complete, and leaves out torchvision, torchaudio and torchcodec on purpose (see its head).
if ! pip install -qq --no-deps -r requirements/cpu.lock 2>"$VENV/install.log"; then
  echo "not all found in the configured index; trying again with PyTorch's public CPU index"
  pip install -q --no-deps -r requirements/cpu.lock --extra-index-url https://download.pytorch.org/whl/cpu
fi
pip install -qq --no-deps --no-build-isolation -e . 2>>"$VENV/install.log"
