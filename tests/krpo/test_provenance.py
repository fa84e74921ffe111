"""What a run notes about the machine it was made on."""

from __future__ import annotations

import pytest
import torch

from krpo.provenance import peak_memory


@pytest.mark.skipif(torch.cuda.is_initialized(), reason="this process computes on a GPU")
def test_memory_of_a_process_without_a_gpu() -> None:
    peak = peak_memory()
    assert list(peak) == ["peak_memory_mb"]
    assert 10 < peak["peak_memory_mb"] < 1e6


def test_memory_where_a_gpu_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**20)
    peak = peak_memory()
    assert list(peak) == ["peak_memory_mb", "peak_gpu_memory_mb"]
    assert peak["peak_gpu_memory_mb"] == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_on_a_gpu() -> None:
    held = torch.zeros(2**24, device="cuda")  # 64 MiB
    assert peak_memory()["peak_gpu_memory_mb"] >= held.nbytes / 2**20 == 64
