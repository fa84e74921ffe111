"""`KRPOTrainer` in real training: TRL's advantages bit for bit, seeds that repeat and differ, common random numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from krpo.config import Named
from krpo.errors import BadInput, KrpoError
from krpo.rewards import TaskReward
from krpo.rundir import RunDir
from krpo.spec import RunSpec
from krpo.train import train
from krpo.trainer import KRPOConfig, KRPOTrainer
from krpo.trl_import import GRPOTrainer

SHORT = {"steps": 2, "prompts_per_step": 3, "group_size": 4, "max_completion_length": 40}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def without_wall(run: RunDir) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "wall"} for row in run.metrics()]


@dataclass
class Recording:
    """What a run did, step by step."""

    answers: list[list[str]] = field(default_factory=list)
    rewards: list[torch.Tensor] = field(default_factory=list)
    observed: list[torch.Tensor] = field(default_factory=list)
    advantages: list[torch.Tensor] = field(default_factory=list)
    trl_advantages: list[torch.Tensor] = field(default_factory=list)


@pytest.fixture
def record(monkeypatch, tmp_path) -> Callable[..., Recording]:
    """Train a short run and record what went through the trainer."""

    def run(name: str, **settings: Any) -> Recording:
        seen = Recording()
        accuracy, log, stock = (
            TaskReward.accuracy,
            KRPOTrainer._log_advantages,
            GRPOTrainer._generate_and_score_completions,
        )

        def with_answers(self, completions, **columns):
            seen.answers.append(list(completions))
            return accuracy(self, completions=completions, **columns)

        def with_rewards(self, true_PG, observed_PG, advantages_PG, mask_PG):
            seen.rewards.append(true_PG.clone())
            seen.observed.append(observed_PG.clone())
            seen.advantages.append(advantages_PG.clone())
            return log(self, true_PG, observed_PG, advantages_PG, mask_PG)

        def with_trl(self, inputs):
            output = stock(self, inputs)
            seen.trl_advantages.append(output["advantages"].clone())
            return output

        with monkeypatch.context() as patch:
            patch.setattr(TaskReward, "accuracy", with_answers)
            patch.setattr(KRPOTrainer, "_log_advantages", with_rewards)
            patch.setattr(GRPOTrainer, "_generate_and_score_completions", with_trl)
            train(RunSpec(**{**SHORT, **settings}), tmp_path / name)
        return seen

    return run


def test_grpo_gives_the_advantages_of_stock_trl_bit_for_bit(record):
    seen = record("run", estimator=Named("grpo"), steps=3, prompts_per_step=6)
    assert len(seen.advantages) == 3
    assert any(a.abs().max() > 0 for a in seen.advantages)
    for ours_PG, theirs_B in zip(seen.advantages, seen.trl_advantages, strict=True):
        assert torch.equal(ours_PG.reshape(-1), theirs_B)


def test_two_runs_with_one_seed_are_identical_and_two_seeds_differ(tmp_path):
    spec = {**SHORT, "estimator": Named("krpo"), "noise": Named("gaussian", {"sigma": 0.3})}
    first = train(RunSpec(**spec, seed=1), tmp_path / "a")
    again = train(RunSpec(**spec, seed=1), tmp_path / "b")
    other = train(RunSpec(**spec, seed=2), tmp_path / "c")
    assert without_wall(first) == without_wall(again)
    weights = "model.safetensors"
    assert (first.checkpoint / weights).read_bytes() == (again.checkpoint / weights).read_bytes()
    assert without_wall(first) != without_wall(other)


def test_estimators_that_share_a_seed_share_answers_rewards_and_noise_at_step_one(record):
    noise = Named("flip", {"rate": 0.3})
    seen = {name: record(name, estimator=Named(name), noise=noise) for name in ("grpo", "krpo", "rloo")}
    grpo = seen["grpo"]
    assert not torch.equal(grpo.rewards[0], grpo.observed[0])
    for name in ("krpo", "rloo"):
        assert seen[name].answers[0] == grpo.answers[0]
        assert torch.equal(seen[name].rewards[0], grpo.rewards[0])
        assert torch.equal(seen[name].observed[0], grpo.observed[0])
        assert not torch.equal(seen[name].advantages[0], grpo.advantages[0])


def test_a_rollout_batch_in_minibatches_is_one_row_of_metrics(tmp_path):
    run = train(RunSpec(**{**SHORT, "minibatches": 3}), tmp_path / "run")
    rows = run.metrics()
    assert [row["step"] for row in rows] == [1, 2]
    assert run.status() == "done"
    assert run.spec()["minibatches"] == 3


def test_the_kl_penalty_is_logged_where_there_is_one(tmp_path):
    run = train(RunSpec(**{**SHORT, "kl_weight": 0.01}), tmp_path / "run")
    assert run.metrics()[0]["kl"] == pytest.approx(0.0, abs=1e-6)  # before the first update the policy is the reference
    assert run.metrics()[1]["kl"] > 0


def test_a_checkpoint_is_a_plain_folder_of_safetensors(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = train(RunSpec(**SHORT), tmp_path / "run")
    names = {p.name for p in run.checkpoint.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "krpo.json"} <= names
    assert not {n for n in names if n.endswith((".bin", ".pt", ".pkl"))}
    assert AutoModelForCausalLM.from_pretrained(run.checkpoint).num_parameters() > 0
    assert AutoTokenizer.from_pretrained(run.checkpoint)("7+9=").input_ids


def test_a_loss_that_is_no_number_fails_the_run_and_keeps_its_metrics(tmp_path):
    with pytest.raises(KrpoError, match=r"not a number at step|has diverged"):
        train(RunSpec(**{**SHORT, "steps": 20, "learning_rate": 1e30, "max_grad_norm": 0.0}), tmp_path / "run")
    run = RunDir(tmp_path / "run")
    assert run.status() == "failed"
    assert run.metrics()
    assert not run.checkpoint.exists()


def test_a_directory_that_holds_another_run_is_left_alone(tmp_path):
    run = train(RunSpec(**SHORT), tmp_path / "run")
    before = run.metrics_file.read_bytes()
    with pytest.raises(BadInput, match="holds another run"):
        train(RunSpec(**SHORT, seed=9), tmp_path / "run")
    train(RunSpec(**SHORT), tmp_path / "run")  # the same run: found done
    assert run.metrics_file.read_bytes() == before


def test_what_the_configuration_cannot_mean_is_refused(tmp_path):
    from krpo.policies import load_policy

    model, tokenizer = load_policy("tiny")
    settings = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none"}
    for bad, part in [
        ({"advantage_estimator": "kpro"}, "krpo"),
        ({"reward_noise": "gausian"}, "gaussian"),
        ({"advantage_params": {"proces_variance": 1.0}}, "process_variance"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "sum_then_normalize"),
    ]:
        with pytest.raises(BadInput, match=part):
            KRPOTrainer(model, reward_funcs=len, args=KRPOConfig(**settings, **bad), processing_class=tokenizer)


def test_the_held_out_curve_changes_nothing(tmp_path):
    plain = train(RunSpec(**SHORT), tmp_path / "a")
    drawn = train(RunSpec(**SHORT), tmp_path / "b", held_out_every=1)
    assert without_wall(plain) == without_wall(drawn)
    points = [json.loads(line) for line in drawn.held_out_file.read_text().splitlines()]
    assert [point["step"] for point in points] == [1, 2]
    for point in points:
        levels = [point[f"accuracy/{level}"] for level in ("easy", "normal", "hard")]
        assert point["accuracy"] == pytest.approx(sum(levels) / 3)
    assert not plain.held_out_file.exists()


def test_remax_judges_by_a_greedy_answer(record, tmp_path):
    """The greedy reward of each prompt, computed here with the untrained model, is what is subtracted."""
    from krpo.policies import load_policy
    from krpo.tasks import make_task

    seen = record("run", estimator=Named("remax"), steps=1, prompts_per_step=6)
    model, tokenizer = load_policy("tiny")
    task = make_task("sums")
    rows = task.train_rows(0, 6)
    for row, rewards_G, advantages_G in zip(rows, seen.rewards[0], seen.advantages[0], strict=True):
        ids = tokenizer(row.prompt, return_tensors="pt").input_ids
        answer = tokenizer.decode(model.generate(ids, do_sample=False, max_new_tokens=40)[0, ids.shape[1] :])
        greedy = float(task.verify(answer.replace("<eos>", ""), row).correct)
        assert torch.equal(advantages_G, rewards_G - greedy)


def test_the_trainer_gives_every_estimator_what_it_asks_for(tmp_path):
    from krpo.advantages import available_estimators, make_estimator

    params = {"composed": {"baseline": "group_mean", "scale": "group_std"}}
    asking = [name for name in available_estimators() if make_estimator(name, **params.get(name, {})).extras]
    assert {"remax", "sgpo", "grpo_lead", "krpo_persistent", "krpo_shuffled"} <= set(asking)
    for name in asking:
        spec = {"steps": 2, "prompts_per_step": 2, "group_size": 3, "max_completion_length": 20}
        run = train(RunSpec(**spec, estimator=Named(name)), tmp_path / name)
        assert len(run.metrics()) == 2, name


def test_a_reward_function_that_raises_is_named(monkeypatch, tmp_path):
    def broken(self, completions, **_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(TaskReward, "accuracy", broken)
    with pytest.raises(KrpoError, match="a reward function failed at step 0: ZeroDivisionError: division by zero"):
        train(RunSpec(**SHORT), tmp_path / "run")
    assert RunDir(tmp_path / "run").status() == "failed"


def test_lora_trains_an_adapter_and_leaves_a_whole_model(tmp_path):
    from krpo.policies import load_policy

    run = train(RunSpec(**{**SHORT, "lora_rank": 4}), tmp_path / "run")
    names = {p.name for p in run.checkpoint.iterdir()}
    assert "model.safetensors" in names
    assert "adapter_config.json" not in names
    before, after = load_policy("tiny")[0].state_dict(), load_policy(str(run.checkpoint))[0].state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_colocated_vllm_follows_the_seed_and_the_weights(tmp_path):
    """Real vLLM on the CPU, in processes of its own: one seed repeats, another differs, log-probs agree."""
    pytest.importorskip("vllm")
    code = (
        "import sys; from krpo.spec import RunSpec; from krpo.train import train\n"
        "for name, seed in [('a', 0), ('b', 0), ('c', 1)]:\n"
        f"    train(RunSpec(**{SHORT!r}, rollout='vllm', seed=seed, learning_rate=1e-3), sys.argv[1] + '/' + name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    a, b, c = (without_wall(RunDir(tmp_path / name)) for name in "abc")
    assert a == b
    assert a != c
    assert all(0 < row["sampler_difference"] < 0.05 for row in (*a, *c))
    assert all(abs(row["importance_ratio"] - 1) < 0.1 for row in (*a, *c))


@pytest.mark.slow
def test_the_answers_of_a_prompt_are_one_request(tmp_path):
    """Real vLLM: joined requests give what one request an answer gives with the seeds seed, seed + 1, ..."""
    pytest.importorskip("vllm")
    code = """
import sys
from krpo import rollouts
from krpo.trl_import import load_vllm
load_vllm()
rollouts.prepare_cpu()
from vllm import LLM, SamplingParams
engine = LLM(sys.argv[1], dtype="float32", enforce_eager=True)
ids = {text: engine.get_tokenizer()(text).input_ids for text in ("12+7-3=", "4+5-8=")}
prompts = [{"prompt_token_ids": ids[text]} for text in ("12+7-3=",) * 3 + ("4+5-8=",) * 2 + ("12+7-3=",)]
params = SamplingParams(max_tokens=12, temperature=1.0, logprobs=0)
alone = []
for prompt, seed in zip(prompts, (100, 101, 102, 400, 401, 600)):
    one = params.clone()
    one.seed = seed
    alone.append(engine.generate([prompt], sampling_params=one, use_tqdm=False)[0])
counts = []
plain = engine.generate
def counted(prompts, **options):
    counts.append([p.n for p in options["sampling_params"]])
    return plain(prompts, **options)
engine.generate = counted
rollouts.seed_requests(engine, lambda position: (position + 1) * 100)
joined = engine.generate(prompts, sampling_params=params, use_tqdm=False)
assert counts == [[3, 2, 1]], counts
assert [o.prompt_token_ids for o in joined] == [p["prompt_token_ids"] for p in prompts]
assert [len(o.outputs) for o in joined] == [1] * 6
texts = [list(o.outputs[0].token_ids) for o in joined]
assert texts == [list(o.outputs[0].token_ids) for o in alone], texts
assert len({tuple(text) for text in texts[:3]}) > 1
assert params.seed is None and params.n == 1
"""
    from krpo.policies import policy_path

    done = subprocess.run([sys.executable, "-c", code, str(policy_path("tiny"))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_adaptive_entropy_bonus_of_trl_resumes(tmp_path):
    from datasets import Dataset

    from krpo.policies import load_policy

    def trained(folder: Path, *, steps: int, resume: bool) -> KRPOTrainer:
        args = KRPOConfig(
            output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, max_steps=steps,
            per_device_train_batch_size=4, num_generations=4, max_completion_length=8, shuffle_dataset=False,
            save_steps=2, logging_steps=1, gradient_checkpointing=False, lr_scheduler_type="constant",
            use_adaptive_entropy=True, entropy_target=5.0, entropy_coef=0.01,
        )  # fmt: skip
        model, tokenizer = load_policy("tiny")
        trainer = KRPOTrainer(
            model, reward_funcs=lambda completions, **_: [float(len(text) % 3) for text in completions], args=args,
            train_dataset=Dataset.from_list([{"prompt": f"{a}+2="} for a in range(2, 8)]), processing_class=tokenizer,
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume or None)
        return trainer

    whole = trained(tmp_path / "whole", steps=4, resume=False)
    trained(tmp_path / "stopped", steps=2, resume=False)
    resumed = trained(tmp_path / "stopped", steps=4, resume=True)
    assert whole.entropy_coef > 0.01
    assert resumed.entropy_coef == whole.entropy_coef
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


class Stopped(BaseException):
    """In place of a kill: what was saved is all that the next attempt has."""


@pytest.mark.parametrize("more", [{}, {"lora_rank": 4, "kl_weight": 0.1}, {"dtype": "bfloat16"}], ids=str)
def test_a_stopped_run_ends_with_the_bytes_of_one_that_was_not(tmp_path, more):
    spec = RunSpec(
        **{**SHORT, "steps": 6, "minibatches": 2, "lr_schedule": "cosine", "warmup_steps": 2, **more},
        noise=Named("gaussian", {"sigma": 0.3}),
    )

    def stop_at(step: int) -> Callable[[dict[str, Any]], None]:
        def stop(row: dict[str, Any]) -> None:
            if row["step"] == step:
                raise Stopped

        return stop

    undisturbed = train(spec, tmp_path / "a")
    for step in (1, 3, 4):
        with pytest.raises(Stopped):
            train(spec, tmp_path / "b", progress=stop_at(step), save_every=2)
    stopped = train(spec, tmp_path / "b", save_every=2)
    assert without_wall(stopped) == without_wall(undisturbed)
    for name in ("model.safetensors", "krpo.json"):
        assert (stopped.checkpoint / name).read_bytes() == (undisturbed.checkpoint / name).read_bytes()
    assert not stopped.resume.exists()


HEAVY = "{'vllm', 'lm_eval', 'ray', 'matplotlib'}"
IMPORTS = f"import sys, krpo; from krpo import KRPOTrainer; assert not {HEAVY} & set(sys.modules)"


@pytest.mark.parametrize(
    "code",
    [
        IMPORTS,
        "import sys, krpo, eval, ablations, reports; assert not {'torch', 'pandas'} & set(sys.modules)",
        *(
            f"import sys; from {room}.cli import parser; parser().format_help(); "
            "assert not {'torch', 'pandas', 'vllm', 'lm_eval', 'matplotlib', 'transformers'} & set(sys.modules)"
            for room in ("krpo", "eval", "ablations", "reports")
        ),
    ],
)
def test_imports_stay_light(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
