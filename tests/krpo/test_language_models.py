"""`krpo-train` on a language model as labs use it: Qwen2 shape, byte-level tokenizer, chat template, real GSM8K."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from krpo.cli import main
from krpo.config import Named
from krpo.prompts import SYSTEM, rendered
from krpo.rundir import RunDir
from krpo.spec import RunSpec
from krpo.tasks import make_task
from krpo.train import train
from krpo.trainer import KRPOTrainer

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, data_dir) -> Path:
    """A small randomly initialised Qwen2 with a byte-level tokenizer trained on GSM8K's text."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    text = (data_dir / "gsm8k_train.jsonl").read_text().splitlines()[:300]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        text, trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=1024, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "qwen2-small"
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def options(model_folder: Path, data_dir: Path, output: Path) -> list[str]:
    return [
        *("--policy", str(model_folder), "--task", "gsm8k", "--set", f"task.data_dir={data_dir}", "--quiet"),
        *("--steps", "10", "--prompts-per-step", "2", "--group-size", "4", "--max-completion-length", "16"),
        *("--output", str(output)),
    ]


def check(run: RunDir) -> None:
    rows = run.metrics()
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert all(row["accuracy"] == row["accuracy/all"] for row in rows)
    assert all(row["verifier_timeouts"] == 0 for row in rows)
    assert (run.checkpoint / "model.safetensors").exists()


def test_ten_steps_of_gsm8k_with_generate(model_folder, data_dir, tmp_path):
    assert main(options(model_folder, data_dir, tmp_path / "run")) == 0
    check(RunDir(tmp_path / "run"))


@pytest.mark.slow
def test_ten_steps_of_gsm8k_with_vllm_colocated(model_folder, data_dir, tmp_path):
    pytest.importorskip("vllm")
    command = [
        sys.executable,
        "-m",
        "krpo.cli",
        *options(model_folder, data_dir, tmp_path / "run"),
        "--rollout",
        "vllm",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    check(RunDir(tmp_path / "run"))
    assert all(row["sampler_difference"] < 0.05 for row in RunDir(tmp_path / "run").metrics())


def test_the_prompt_in_training_is_the_rendered_one(model_folder, data_dir, tmp_path, monkeypatch):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    task = make_task("gsm8k", data_dir=str(data_dir))
    seen: list[list[int]] = []
    generate = KRPOTrainer._generate_single_turn

    def spy(self, prompt_ids, *rest, **more):
        seen.extend(prompt_ids)
        return generate(self, prompt_ids, *rest, **more)

    monkeypatch.setattr(KRPOTrainer, "_generate_single_turn", spy)
    named = Named("gsm8k", {"data_dir": str(data_dir)})
    spec = RunSpec(
        policy=str(model_folder), task=named, steps=1, prompts_per_step=2, group_size=2, max_completion_length=4
    )
    train(spec, tmp_path / "run")
    expected = [rendered(row.prompt, tokenizer, instruct=True) for row in task.train_rows(0, 2)]
    assert [tokenizer.decode(ids) for ids in seen] == [text for text in expected for _ in range(2)]
    assert expected[0].startswith(f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n")
    assert expected[0].endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_where_the_data_lies_is_no_part_of_the_key(model_folder, data_dir, tmp_path):
    from krpo.train import key_of

    elsewhere = tmp_path / "copy"
    elsewhere.mkdir()
    for name in ("gsm8k_train.jsonl", "gsm8k_test.jsonl"):
        shutil.copy(data_dir / name, elsewhere)
    keys = {key_of(RunSpec(task=Named("gsm8k", {"data_dir": str(folder)}))) for folder in (data_dir, elsewhere)}
    assert len(keys) == 1
    with (elsewhere / "gsm8k_train.jsonl").open("a") as stream:
        stream.write('{"question": "one more?", "answer": "#### 1"}\n')
    assert key_of(RunSpec(task=Named("gsm8k", {"data_dir": str(elsewhere)}))) not in keys


@pytest.mark.parametrize(
    ("break_it", "parts"),
    [
        ("no tokenizer", ["qwen2-small", "tokenizer"]),
        ("hub name", ["no-such-owner/no-such-model"]),
        ("broken line", ["gsm8k_train.jsonl, line 3", "not valid JSON"]),
        ("other column", ["gsm8k_train.jsonl, line 1", "'question' is missing", "questions"]),
        ("no data", ["gsm8k_train.jsonl", "task gsm8k"]),
        ("no folder", ["no/such/data", "no such folder"]),
    ],
)
def test_bad_input_is_one_line_and_exit_2(model_folder, data_dir, tmp_path, capsys, monkeypatch, break_it, parts):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    policy, data = tmp_path / "qwen2-small", tmp_path / "data"
    shutil.copytree(model_folder, policy)
    data.mkdir()
    lines = (data_dir / "gsm8k_train.jsonl").read_text().splitlines()[:5]
    (data / "gsm8k_test.jsonl").write_text("\n".join(lines))
    if break_it == "broken line":
        lines[2] = lines[2][:20]
    if break_it == "other column":
        lines = [json.dumps({"questions": "?", "answer": "#### 1"})]
    if break_it != "no data":
        (data / "gsm8k_train.jsonl").write_text("\n".join(lines))
    if break_it == "no tokenizer":
        for file in policy.glob("tokenizer*"):
            os.remove(file)
    name = "no-such-owner/no-such-model" if break_it == "hub name" else str(policy)
    where = "no/such/data" if break_it == "no folder" else str(data)
    assert main(options(Path(name), Path(where), tmp_path / "run")) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1, error
    for part in parts:
        assert part in error[0]
    assert not (tmp_path / "run").exists()
