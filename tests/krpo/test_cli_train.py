"""`krpo-train` from the command line: what it resolves, what it will cost, what it refuses."""

from __future__ import annotations

import pytest
import yaml

from krpo import cost
from krpo.cli import main
from krpo.cost import GIB, estimate_memory, recipe_path
from krpo.spec import RunSpec


def test_options_files_and_set_resolve_in_this_order(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text("steps: 5\nseed: 3\nnoise: {name: flip, rate: 0.1}\n")
    options = ["--config", str(file), "--seed", "4", "--set", "noise.rate=0.3", "--dry-run"]
    assert main(options) == 0
    text = capsys.readouterr().out
    resolved = yaml.safe_load(text[: text.index("memory, estimated")])
    assert (resolved["steps"], resolved["seed"]) == (5, 4)
    assert resolved["noise"] == {"name": "flip", "rate": 0.3}
    assert "ready: model, data and device are there" in text


def test_memory_of_the_tiny_policy_by_hand():
    """354,944 parameters in float32: weights, gradients and two moments of 4 bytes each."""
    memory = estimate_memory(RunSpec(kl_weight=0.1))
    assert memory.parameters == 354_944
    assert memory.weights == memory.gradients == memory.reference == 4 * 354_944
    assert memory.optimizer == 8 * 354_944
    assert memory.sampler == 0
    tokens = 8 * 12 * (256 + 64)
    assert memory.activations == tokens * 128 * 16 * 2 * 4
    assert memory.total < GIB
    assert estimate_memory(RunSpec(lora_rank=4)).gradients < memory.gradients / 5


@pytest.mark.parametrize("name", ["paper", "gsm8k"])
def test_recipes_are_sound_and_say_what_is_missing(name, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    status = main(["--recipe", name, "--dry-run"])
    said = capsys.readouterr()
    assert f"policy: {yaml.safe_load(recipe_path(name).read_text())['policy']}" in said.out
    assert status == (2 if "missing:" in said.err else 0)
    assert "Traceback" not in said.err


def test_a_server_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(cost, "SERVER", "http://127.0.0.1:9")  # a port where nothing listens
    (line,) = cost._check_server(on_gpu=True)
    assert "http://127.0.0.1:9" in line
    assert "trl vllm-serve" in line


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--recipe", "papr"], ["papr", "did you mean paper"]),
        (["--recipe", "paper", "--config", "x.yaml"], ["one of them"]),
        (["--config", "no/such.yaml"], ["no/such.yaml: no such file"]),
        (["--estimator", "kpro"], ["kpro", "krpo"]),
        (["--set", "estimator.proces_variance=1"], ["proces_variance", "process_variance"]),
        (["--noise", "flip", "--set", "noise.rate=2"], ["rate", "2"]),
        (["--task", "smus"], ["smus", "sums"]),
        (["--set", "task.levels=[harder]"], ["harder", "hard"]),
        (["--set", "stepz=3"], ["stepz", "steps"]),
        (["--steps", "many"], ["steps", "whole number", "many"]),
        (["--group-size", "1"], ["group_size", "at least 2"]),
        (["--set", "steps"], ["--set steps", "key=value"]),
        (["--policy", "./nowhere"], ["./nowhere", "no such folder"]),
        (["--device", "cuda"], ["CUDA"]),
        (["--rollout", "vllm_server", "--device", "cpu"], ["vllm_server", "NCCL", "generate or vllm"]),
        (["--tracker", "tensorbord"], ["--tracker tensorbord", "tensorboard"]),
    ],
)
def test_bad_input_is_one_line_and_exit_2(options, parts, tmp_path, capsys):
    import torch

    if "cuda" in options and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    assert main([*options, "--output", str(tmp_path / "run"), "--quiet"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    for part in parts:
        assert part in lines[0]
    assert not (tmp_path / "run").exists()
