"""Loading of policies, the character tokenizer, and the built-in tiny policy with its recipe."""

import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from krpo.errors import BadInput
from krpo.policies import build_tiny, load_policy, policy_path, weights_hash
from krpo.policies.tokenizer import CHARACTERS, TAGS, character_tokenizer
from krpo.tasks import Row, make_task
from krpo.tasks.sums import solution

TINY = policy_path("tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "policy"))


# --- where a policy is ---


def test_policy_path(folder: Path) -> None:
    assert (Path(TINY) / "model.safetensors").is_file()
    assert policy_path(folder) == folder
    assert policy_path(str(folder)) == folder
    assert policy_path("Qwen/Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B"


def test_a_missing_folder_names_its_neighbours(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"polcy': no such folder; did you mean policy\?"):
        load_policy(folder.parent / "polcy")
    with pytest.raises(BadInput, match="no such folder"):
        load_policy("./nowhere/at/all")
    with pytest.raises(BadInput, match="is a file"):
        load_policy(folder / "config.json")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("config.json", "no config.json, so it is no Hugging Face model folder"),
        ("model.safetensors", r"no \*\.safetensors; other weight formats are not read"),
    ],
)
def test_a_folder_without_a_file_it_needs(folder: Path, file: str, words: str) -> None:
    (folder / file).unlink()
    for function in (load_policy, weights_hash):
        with pytest.raises(BadInput, match=words):
            function(folder)


def test_a_folder_without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(BadInput, match="has no tokenizer"):
        load_policy(folder)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", "{", "not valid JSON"),
        ("config.json", "{}", "model_type"),
        ("config.json", '{"model_type": "no-such-model"}', "cannot be read"),
        ("tokenizer.json", "{}", "the tokenizer in .* cannot be read"),
        ("model.safetensors", "not weights", "the model in .* cannot be read"),
    ],
)
def test_a_broken_file_is_named(folder: Path, file: str, content: str, words: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(BadInput, match=words) as caught:
        load_policy(folder)
    assert str(folder) in str(caught.value)


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BadInput, match="safetensors"):
        load_policy(folder)


def test_code_that_comes_with_a_model_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('remote code was run')")
    with pytest.raises(BadInput, match="cannot be read"):
        load_policy(folder)


def test_an_unknown_dtype() -> None:
    with pytest.raises(BadInput, match="did you mean float32"):
        load_policy("tiny", dtype="float23")


def test_the_hub_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no network\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(BadInput) as caught:
        load_policy("tinny")
    assert "cannot be reached" in str(caught.value)
    assert "built in: tiny" in str(caught.value)
    assert "\n" not in str(caught.value)


# --- the hash ---


def test_weights_hash_follows_what_decides_the_answers(folder: Path) -> None:
    original = weights_hash("tiny")
    assert len(original) == 64
    assert weights_hash(folder) == original
    (folder / "krpo.json").write_text("{}")  # says how it was made, decides nothing
    assert weights_hash(folder) == original
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    changed = weights_hash(folder)
    assert changed != original
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    assert weights_hash(folder) not in (original, changed)


# --- the tokenizer ---

tokenizer = character_tokenizer(1024)


@given(st.lists(st.sampled_from([*CHARACTERS, *TAGS]), max_size=200))
def test_text_goes_round(pieces: list[str]) -> None:
    text = "".join(pieces)
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


@given(st.text(max_size=200))
def test_any_text_is_survived(text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert all(0 <= i < len(tokenizer) for i in ids)
    assert tokenizer.unk_token_id in ids or tokenizer.decode(ids) == text


def test_tags_are_one_token_and_nothing_is_added() -> None:
    assert all(len(tokenizer(tag)["input_ids"]) == 1 for tag in TAGS)
    assert len(tokenizer("7+9=")["input_ids"]) == 4
    assert tokenizer("é\t")["input_ids"] == [tokenizer.unk_token_id] * 2
    assert tokenizer("")["input_ids"] == []
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 4


def test_the_committed_tokenizer_is_this_one() -> None:
    _, committed = load_policy("tiny")
    assert committed.get_vocab() == tokenizer.get_vocab()
    text = "Question: a\n\nAnswer: <think>é 7</think><answer>12</answer>"
    assert committed(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert committed.padding_side == "left"


# --- the tiny policy ---


def test_the_manifest_describes_the_committed_weights() -> None:
    import hashlib
    from dataclasses import asdict

    manifest = json.loads((Path(TINY) / "krpo.json").read_text())
    weights = Path(TINY) / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == manifest["weights_sha256"]
    assert weights.stat().st_size < 4_000_000
    assert manifest["parameters"] == sum(p.numel() for p in load_policy("tiny")[0].parameters()) < 3_000_000
    assert manifest["recipe"] == asdict(build_tiny.Recipe())
    assert manifest["task"] == make_task("sums").fingerprint()


def test_the_skill_is_latent() -> None:
    """Samples are far worse than greedy answers at every level, and the levels start apart."""
    model, tok = load_policy("tiny")
    stored = json.loads((Path(TINY) / "krpo.json").read_text())["accuracy"]
    task = make_task("sums")
    greedy = build_tiny.accuracy(model, tok, task, temperature=0.0)
    sampled = build_tiny.accuracy(model, tok, task, temperature=1.0, samples=4, seed=1)
    for level in task.levels:
        assert greedy[level] == pytest.approx(stored["greedy"][level], abs=0.011)
        assert sampled[level] == pytest.approx(stored["temperature_1"][level], abs=0.07)
        assert greedy[level] > 0.8
        assert greedy[level] - sampled[level] > 0.25
    assert sampled["easy"] - 0.08 > sampled["normal"] > sampled["hard"] + 0.05


def test_demonstrations() -> None:
    row = Row(id="hard/40-8+2-3", prompt="40-8+2-3=", answer="31", level="hard")
    rng = random.Random(0)
    assert (
        build_tiny.demonstration(row, 1.0, rng) == solution(row.prompt) == "<think>32;34;31</think><answer>31</answer>"
    )
    verdicts = [make_task("sums").verify(build_tiny.demonstration(row, 0.7, rng), row) for _ in range(2000)]
    assert all(v.formatted for v in verdicts)
    assert sum(v.correct for v in verdicts) / 2000 == pytest.approx(0.7**3, abs=0.05)


def test_the_build_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_tiny, "accuracy", lambda *_, **__: {})
    recipe = build_tiny.Recipe(skill_steps=3, blur_steps=2, batch=4)
    first, again, other = (
        build_tiny.build(r, tmp_path / name, lambda line: None)["weights_sha256"]
        for r, name in (
            (recipe, "a"),
            (recipe, "b"),
            (build_tiny.Recipe(seed=1, skill_steps=3, blur_steps=2, batch=4), "c"),
        )
    )
    assert first == again != other
    assert weights_hash(tmp_path / "a") == weights_hash(tmp_path / "b")
