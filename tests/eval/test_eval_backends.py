"""The backends against each other and against lm-eval's own model, on the same checkpoint."""

import json
import multiprocessing
import shutil
import subprocess
import sys
from itertools import product

import pytest
import torch
from safetensors.torch import load_file, save_file

from eval import EvalSpec, evaluate, prepare
from eval.backends import Prompt, make_backend
from eval.backends.bits import sums_of, sums_of_files, sums_of_module
from eval.backends.canary import agree, canary_tokens, own_logprobs
from eval.backends.hf import _choose
from eval.backends.vllm import refusal
from eval.cli import main
from eval.tasks.loading import load_tasks
from eval.tasks.task import quiet
from krpo.errors import BadInput, KrpoError
from krpo.policies import load_policy, policy_path
from krpo.rundir import read_jsonl


@pytest.fixture(scope="module")
def hf(policy):
    return make_backend("hf", policy, batch_size=8)


def prompt(text, **more):
    return Prompt(**{"text": text, "until": (), "max_tokens": 24, "temperature": 0.0, "seed": None, **more})


def test_greedy_answers_are_those_of_lm_evals_own_generation(hf, data_dir):
    """lm-eval's HFLM on the same weights, with its own batching, stop strings and truncation: the same texts."""
    spec = EvalSpec(tasks=("gsm8k",), limit=12, data_dir=str(data_dir))
    task = load_tasks(spec)[0]
    settings = task.generation()
    prompts = [prompt(q.prompt, until=tuple(settings["until"]), max_tokens=None) for q in task.questions]
    answers = [
        a for batch in hf.batches(prompts) for a in zip(batch, hf.generate([prompts[i] for i in batch]), strict=True)
    ]
    mine = [answer.text for _, answer in sorted(answers, key=lambda pair: pair[0])]
    with quiet():
        theirs = hf.lm.generate_until([q.requests[0] for q in task.questions], disable_tqdm=True)
    assert mine == theirs


def test_an_answer_ends_before_its_stop_string(hf):
    whole = hf.generate([prompt("1+1=")])[0]
    stop = whole.text[7:10]
    stopped = hf.generate([prompt("1+1=", until=(stop,))])[0]
    assert stopped.text == whole.text.split(stop)[0]
    assert stopped.finish == "stop"
    assert stopped.tokens == whole.text.index(stop) + 3  # one token a character, the stop string's own included


def test_an_answer_cut_at_its_limit_says_so(hf):
    answer = hf.generate([prompt("1+1=", max_tokens=2)])[0]
    assert (answer.tokens, answer.finish) == (2, "length")


def test_a_sample_depends_on_its_own_seed_and_not_on_its_batch(hf):
    alone = hf.generate([prompt("1+1=", temperature=1.0, seed=5)])[0]
    beside = hf.generate([prompt(f"{i}+1=", temperature=1.0, seed=i) for i in range(6)])
    crowd = hf.generate(
        [
            *(prompt("9" * n + "=", temperature=1.0, seed=n) for n in range(1, 6)),
            prompt("1+1=", temperature=1.0, seed=5),
        ]
    )
    assert crowd[-1] == alone
    assert len({answer.text for answer in beside}) == 6


def test_sampling_draws_from_the_softmax():
    """The share of each token over evenly spaced draws is its probability; a temperature sharpens it."""
    logits = torch.log(torch.tensor([0.1, 0.2, 0.7]))
    draws = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    tokens = _choose(logits.expand(1000, 3), 1.0, draws[:, None], list(range(1000)), 0)
    assert torch.bincount(tokens, minlength=3).tolist() == [100, 200, 700]
    tokens = _choose(logits.expand(1000, 3), 0.5, draws[:, None], list(range(1000)), 0)  # squares: 1 : 4 : 49 of 54
    assert torch.bincount(tokens, minlength=3).tolist() == pytest.approx([18.5, 74, 907.5], abs=1)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory: ...")]
)
def test_out_of_memory_halves_the_batch(hf, monkeypatch, error):
    real, sizes = hf._generate, []

    def small_only(prompts):
        sizes.append(len(prompts))
        if len(prompts) > 2:
            raise error
        return real(prompts)

    monkeypatch.setattr(hf, "_generate", small_only)
    prompts = [prompt(f"{i}+1=") for i in range(5)]
    assert [a.text for a in hf.generate(prompts)] == [real([p])[0].text for p in prompts]
    assert sizes == [5, 2, 3, 1, 2]


def in_child(policy, out):
    evaluate([policy], EvalSpec(tasks=("sums",), limit=6, backend="hf"), out_dirs=[out])


def test_it_runs_in_a_forked_child(policy, tmp_path):
    """The driver's way: the parent imports and loads, each child evaluates."""
    prepare(EvalSpec(tasks=("sums",), limit=6, backend="hf"))
    child = multiprocessing.get_context("fork").Process(target=in_child, args=(policy, tmp_path / "child"))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    in_child(policy, tmp_path / "parent")
    assert (tmp_path / "child" / "sums.jsonl").read_bytes() == (tmp_path / "parent" / "sums.jsonl").read_bytes()


def test_out_of_memory_for_one_answer_says_what_to_do(hf, monkeypatch):
    def never(prompts):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(hf, "_generate", never)
    with pytest.raises(KrpoError, match="out of memory for a single answer; lower --max-tokens"):
        hf.generate([prompt("1+1="), prompt("2+2=")])


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        BadInput("policy 'x': the model in x cannot be read (MemoryError: Cannot allocate memory (os error 12))"),
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
    ],
)
def test_a_model_that_does_not_fit_is_out_of_memory_and_no_bad_input(policy, tmp_path, monkeypatch, capsys, error):
    def never(*_, **__):
        raise error

    monkeypatch.setattr("krpo.policies.load_policy", never)
    assert main([str(policy), "--tasks", "sums", "--backend", "hf", "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (f"error: {policy}: out of memory; the model does not fit in memory in float32\n")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ValueError("No available memory for the cache blocks."), 1, "out of memory when vLLM started (No available"),
        (torch.OutOfMemoryError("CUDA out of memory."), 1, "out of memory when vLLM started (CUDA"),
        (ImportError("libcudart.so.12: cannot open"), 2, "vLLM is there, but cannot be imported (libcudart.so.12"),
        (ValueError("Model architectures ['X'] are not supported"), 2, "vLLM cannot load it (Model architectures"),
        (RuntimeError("Engine core initialization failed"), 1, "vLLM did not start (Engine core"),
    ],
)
def test_why_vllm_does_not_start_is_one_line(error, status, said):
    found = refusal(error, "ckpt")
    assert found.exit_code == status
    assert said in str(found)


BROKEN_VLLM = """
import importlib.machinery, sys, types
from eval.cli import main
sys.modules["vllm"] = types.ModuleType("vllm")
sys.modules["vllm"].__spec__ = importlib.machinery.ModuleSpec("vllm", None)  # installed, and nothing in it
sys.exit(main(sys.argv[1:]))
"""


def test_a_vllm_that_cannot_be_imported_is_one_line(policy, tmp_path):
    options = ["--tasks", "sums", "--limit", "2", "--backend", "vllm", "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_VLLM, str(policy), *options], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: vLLM is there, but cannot be imported (")
    assert done.stderr.count("\n") == 1


IN_VLLM = """
import json, sys
from pathlib import Path
from eval import EvalSpec, evaluate
from eval.backends import vllm as backend
from eval.engine import Engine

policy, other, data_dir, out = map(Path, sys.argv[1:])
starts = []
real = backend.VLLMBackend.__init__
backend.VLLMBackend.__init__ = lambda self, *a, **k: (starts.append(a), real(self, *a, **k))[1]
tasks = ("sums", "gsm8k")
spec = EvalSpec(tasks=tasks, data_dir=str(data_dir), limit=50, backend="vllm", dtype="float32", max_tokens=48)
evaluate([policy, other], spec, out_dirs=[out / "vllm0", out / "vllm1"])
shared = len(starts)
with Engine("vllm", spec) as engine:
    engine.on(str(policy))
    llm = engine.backend.lm.model
    llm.collective_rpc = lambda *a, **k: None  # says it has loaded the weights and has not
    lied = engine.backend.swap(other)
print(json.dumps({"shared": shared, "lied": lied}))
"""


def test_vllm_agrees_with_hf_and_proves_swapped_weights(policy, other_policy, data_dir, tmp_path):
    """Greedy, float32, two checkpoints in one engine. vLLM has a process of its own: its engine changes its process."""
    pytest.importorskip("vllm")
    spec = EvalSpec(
        tasks=("sums", "gsm8k"), data_dir=str(data_dir), limit=50, backend="hf", dtype="float32", max_tokens=48
    )
    evaluate([policy, other_policy], spec, out_dirs=[tmp_path / "hf0", tmp_path / "hf1"])
    command = [sys.executable, "-c", IN_VLLM, *map(str, (policy, other_policy, data_dir, tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for number, task in product("01", ("sums", "gsm8k")):
        pairs = list(
            zip(*(read_jsonl(tmp_path / f"{b}{number}" / f"{task}.jsonl") for b in ("hf", "vllm")), strict=True)
        )
        assert len(pairs) == 50
        assert all(a["question_id"] == b["question_id"] and a["prompt_cut"] == b["prompt_cut"] for a, b in pairs)
        assert sum(a["verdicts"] != b["verdicts"] for a, b in pairs) <= 1
        assert sum(a["answer_text"] != b["answer_text"] for a, b in pairs) <= 1
    assert json.loads((tmp_path / "vllm0" / "gsm8k.json").read_text())["counts"]["prompts_cut"] == 50
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["shared"] == 1  # both checkpoints in one engine
    assert said["lied"] is False  # the canary saw the old weights


CORRUPTED = """
import json, sys
from pathlib import Path
from eval import EvalSpec, evaluate
from eval.backends import vllm as backend

policy, near, out, dtype = *map(Path, sys.argv[1:4]), sys.argv[4]
spec = EvalSpec(tasks=("sums",), limit=20, samples=2, temperature=1.0, backend="vllm", dtype=dtype, max_tokens=16)
starts, swapped = [], []
start, swap = backend.VLLMBackend.__init__, backend.VLLMBackend.swap
backend.VLLMBackend.__init__ = lambda self, *a, **k: (starts.append(a), start(self, *a, **k))[1]
NAME = "layers.1.mlp.down_proj"
DAMAGE = {
    "none": lambda weights: weights,
    "left out": lambda weights: ((n, w) for n, w in weights if NAME not in n),
    "scaled": lambda weights: ((n, w * 1.01 if NAME in n else w) for n, w in weights),
}

def damaged(self, checkpoint):
    engine = self.lm.model.llm_engine.engine_core.engine_core
    model = engine.model_executor.driver_worker.worker.model_runner.model
    load = model.load_weights
    model.load_weights = lambda weights: load(DAMAGE[damage](weights))  # on the way into the live engine
    try:
        swapped.append(swap(self, checkpoint))
    finally:
        model.load_weights = load
    return swapped[-1]

backend.VLLMBackend.swap = damaged
evaluate([near], spec, out_dirs=[out / "alone"])
said = {}
for damage in DAMAGE:
    del starts[:], swapped[:]
    evaluate([policy, near], spec, out_dirs=[out / damage / "policy", out / damage / "near"])
    said[damage] = [*swapped, len(starts)]
damage = "left out"
backend.VLLMBackend.sums = backend.sums_of_files = lambda *_: None
backend.agree = lambda *_: True
evaluate([policy, near], spec, out_dirs=[out / "unproved" / "policy", out / "unproved" / "near"])
print(json.dumps(said))
"""


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_damaged_on_their_way_into_a_live_engine_give_no_score(policy, tmp_path, dtype):
    """Two neighbours, as checkpoints of one run are. Of the second, one tensor is not loaded, or is off by 1 %: the
    engine is given up, and a fresh one gives the scores of the right weights. Without the proofs they are others."""
    pytest.importorskip("vllm")
    near = neighbour(policy, tmp_path / "near_policy", 0.05)
    command = [sys.executable, "-c", CORRUPTED, *map(str, (policy, near, tmp_path)), dtype]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said == {"none": [True, 1], "left out": [False, 2], "scaled": [False, 2]}  # swapped?, engines started
    records = {name: (tmp_path / name / "near" / "sums.jsonl").read_bytes() for name in (*said, "unproved")}
    alone = (tmp_path / "alone" / "sums.jsonl").read_bytes()
    assert records["none"] == records["left out"] == records["scaled"] == alone
    assert records["unproved"] != alone


def neighbour(policy, folder, size):
    """The same policy, each tensor moved by ``size`` of its spread."""
    shutil.copytree(policy, folder)
    random = torch.Generator().manual_seed(1)
    weights = load_file(folder / "model.safetensors")
    moved = {n: w + size * w.std() * torch.randn(w.shape, generator=random) for n, w in weights.items()}
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_transformers_loads_every_checkpoint_anew(policy, tmp_path):
    """There is no live engine to be wrong: two neighbours in one call have the records that each has alone."""
    near = neighbour(policy, tmp_path / "near", 0.05)
    spec = EvalSpec(tasks=("sums",), limit=6, samples=2, temperature=1.0, backend="hf", max_tokens=16)
    evaluate([policy, near], spec, out_dirs=[tmp_path / "0", tmp_path / "1"])
    evaluate([near], spec, out_dirs=[tmp_path / "alone"])
    records = [(tmp_path / name / "sums.jsonl").read_bytes() for name in ("0", "1", "alone")]
    assert records[1] == records[2] != records[0]


def test_the_bits_of_all_weights_see_one_number_and_no_order():
    q, k, norm = torch.randn(6, 4), torch.randn(2, 4), torch.ones(4)
    engine = torch.nn.ParameterList([torch.cat([q, k, torch.zeros(3, 4)]), norm])  # joined and padded
    assert sums_of([norm, k, q]) == sums_of_module(engine)
    for changed in (norm * (1 + 2**-20), torch.tensor([1.0, 1, 1, 0])):
        assert sums_of([changed, k, q]) != sums_of_module(engine)
    assert sums_of([norm, q]) != sums_of_module(engine)
    low, high = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0])
    assert sums_of([low]) != sums_of([high])
    assert sums_of([torch.arange(5 * 2**20).float()]) == sums_of([torch.arange(5 * 2**20).float().flip(0)])  # in parts


def test_the_bits_of_files_are_those_of_the_loaded_model(policy):
    for dtype in ("float32", "bfloat16"):
        model, _ = load_policy(policy, dtype=dtype)
        assert sums_of_files(policy, dtype) == sums_of_module(model)


def test_the_canary_tells_weights_apart(policy, other_policy):
    tokens = canary_tokens(100)
    own, other = own_logprobs(policy, tokens), own_logprobs(other_policy, tokens)
    assert agree(own, own + 1e-5, "float32")
    assert not agree(own, other, "bfloat16")
    assert not agree(own * float("nan"), own, "float32")


@pytest.mark.slow
def test_vllm_and_hf_agree_on_the_tiny_policy(tmp_path):
    """At least 99 % of 500 questions, greedily, in float32."""
    pytest.importorskip("vllm")
    for backend in ("hf", "vllm"):
        command = [sys.executable, "-m", "eval.cli", str(policy_path("tiny")), "--tasks", "sums", "--limit", "500"]
        options = ["--backend", backend, "--dtype", "float32", "--output", str(tmp_path / backend)]
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
    pairs = list(zip(*(read_jsonl(tmp_path / b / "sums.jsonl") for b in ("hf", "vllm")), strict=True))
    assert len(pairs) == 500
    assert sum(a["answer_text"] == b["answer_text"] for a, b in pairs) >= 495
