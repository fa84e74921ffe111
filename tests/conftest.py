"""Shared fixtures. Tests mirror the rooms: `tests/krpo`, `tests/eval`, `tests/ablations`, `tests/reports`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real GSM8K, MATH-500 and arithmetic rows; they are not part of the repository."""
    folder = Path(os.environ.get("KRPO_DATA_DIR", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data at {folder}; set KRPO_DATA_DIR")
    return folder
