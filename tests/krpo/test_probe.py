"""`krpo-probe` on the tiny policy: the trainer's own gradient and rollouts, resuming, bytes, and bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

import krpo.train as training
from krpo.advantages import make_estimator
from krpo.config import Named
from krpo.probe.batches import combine, reference_of
from krpo.probe.cli import main, parser, resolve
from krpo.probe.gradients import Sketch, token_weights
from krpo.probe.rollouts import FrozenPolicy, Rollouts
from krpo.probe.run import probe, read_csv
from krpo.probe.spec import ProbeSpec, parse_names
from krpo.streams import derive_seed
from krpo.train import train

SMALL = {"prompts": 2, "group_sizes": (2, 4), "batches": 16, "reference": 16}
EXACT = 10**6


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> Rollouts:
    """A batch with unprojected gradients."""
    return FrozenPolicy(ProbeSpec(**SMALL, sketch=EXACT), tmp_path_factory.mktemp("exact")).draw("batch", 0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("probe") / "out"
    probe(ProbeSpec(**SMALL, noise=(Named("none"), Named("flip", {"rate": 0.2}))), folder)
    return folder


class Gradient(TrainerCallback):
    """Keeps the gradient that the optimizer is given."""

    def __init__(self) -> None:
        self.flat = torch.empty(0)

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.flat = torch.cat([p.grad.reshape(-1) for p in model.parameters() if p.requires_grad])


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo"])
def test_the_gradient_is_that_of_a_training_step_on_the_same_rollouts(tmp_path, monkeypatch, exact, loss_type):
    spec = ProbeSpec(**SMALL, sketch=EXACT, loss_type=loss_type)
    seen, made = Gradient(), training._trainer

    def with_probe(run_spec, *rest):
        trainer = made(run_spec, *rest)
        trainer.args.seed = derive_seed(spec.seed, "probe", "batch", bits=31)
        trainer.add_callback(seen)
        return trainer

    monkeypatch.setattr(training, "_trainer", with_probe)
    fields = {**spec.rollout_spec().__dict__, "loss_type": loss_type, "steps": 1, "max_grad_norm": 0.0}
    train(type(spec.rollout_spec())(**{**fields, "estimator": Named("krpo")}), tmp_path / "run")

    weights_PG = token_weights(exact.lengths_PG, loss_type, spec.max_completion_length)
    advantages_PG = make_estimator("krpo")(exact.rewards_PG)
    assert advantages_PG.abs().max() > 1
    ours = -torch.as_tensor(combine((weights_PG * advantages_PG).unsqueeze(0), exact)[0])
    assert seen.flat.shape == ours.shape
    assert (seen.flat - ours).norm() < 1e-4 * ours.norm()


def test_the_sketch_agrees_with_exact_gradients_within_its_error(tmp_path, exact):
    k = 8192
    sketched = FrozenPolicy(ProbeSpec(**SMALL, sketch=k), tmp_path).draw("batch", 0)
    assert torch.equal(sketched.rewards_PG, exact.rewards_PG)
    assert torch.equal(sketched.index_PG, exact.index_PG)
    true_UU = (exact.gradients_Uk @ exact.gradients_Uk.T).double()
    kept_UU = (sketched.gradients_Uk @ sketched.gradients_Uk.T).double()
    lengths_U = true_UU.diag().sqrt()
    error_UU = (kept_UU - true_UU) / torch.outer(lengths_U, lengths_U)
    assert error_UU.abs().max() < 5 * (2 / k) ** 0.5
    assert error_UU.abs().max() > 0


def test_the_sketch_is_unbiased_over_seeds():
    x, y = torch.randn(2, 300, generator=torch.Generator().manual_seed(1))
    products = torch.tensor([float(s([x]) @ s([y])) for s in (Sketch([x], 64, seed) for seed in range(400))])
    standard_error = products.std() / 20
    assert abs(products.mean() - x @ y) < 4 * standard_error


def test_a_frozen_policy_draws_each_batch_alone_and_batches_differ(tmp_path, exact):
    policy = FrozenPolicy(ProbeSpec(**SMALL, sketch=EXACT), tmp_path)
    other = policy.draw("reference", 0)
    second = policy.draw("batch", 1)
    again = policy.draw("batch", 0)
    assert torch.equal(again.gradients_Uk, exact.gradients_Uk)
    assert torch.equal(again.index_PG, exact.index_PG)
    drawn = [exact, second, other]
    kept = {tuple(d.lengths_PG.flatten().tolist() + d.rewards_PG.flatten().tolist()) for d in drawn}
    assert len(kept) == 3
    assert (exact.greedy_rewards_P.numel(), second.greedy_rewards_P.numel()) == (2, 0)


def test_the_gradients_combine_by_answer(exact):
    """sum_i c_i u_i by a loop."""
    c_PG = torch.randn(exact.rewards_PG.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = sum(c_PG[p, i] * exact.gradients_Uk[exact.index_PG[p, i]].double() for p in range(2) for i in (2, 3))
    assert torch.allclose(torch.as_tensor(combine(c_PG[:, 2:].unsqueeze(0), exact, 2)[0]).double(), expected, atol=1e-4)


def test_the_reference_is_the_leave_one_out_gradient(exact):
    reference = reference_of(ProbeSpec(**SMALL, sketch=EXACT), [exact])
    r_PG = exact.rewards_PG.double()
    a_PG = make_estimator("rloo")(r_PG)
    expected = combine((a_PG * token_weights(exact.lengths_PG, "grpo", 64)).unsqueeze(0), exact)[0]
    assert torch.allclose(torch.as_tensor(reference.gradient_k), torch.as_tensor(expected), atol=1e-6)
    assert torch.equal(reference.rates_P, r_PG.mean(dim=1))


def test_what_theory_says_exactly_holds_in_a_real_probe(finished):
    """rloo and dr_grpo have one direction; exchangeable estimators have no order variance."""
    rows = {(r["group_size"], r["noise"], r["estimator"], r["measure"]): r for r in read_csv(finished / "results.csv")}

    def value(*key):
        return rows[key]["value"]

    for g, noise in ((2, "none"), (4, "none"), (2, "flip(rate=0.2)"), (4, "flip(rate=0.2)")):
        rloo, dr_grpo = (value(g, noise, name, "snr") for name in ("rloo", "dr_grpo"))
        assert rloo == pytest.approx(dr_grpo, rel=1e-4)
        assert value(g, noise, "rloo", "advantage_rms") == pytest.approx(
            g / (g - 1) * value(g, noise, "dr_grpo", "advantage_rms"), rel=1e-4
        )
        for name in ("rloo", "grpo", "krpo_permavg"):
            assert value(g, noise, name, "order_share") == 0
        assert value(g, noise, "krpo", "order_share") > 0.1
        assert value(g, noise, "oracle", "baseline_mse") == 0
        assert rows[g, noise, "rloo", "snr"]["batches"] == 16 * (4 // g)


def test_raw_rows_hold_the_same_answers_for_all_estimators(finished):
    rows = [json.loads(line) for line in (finished / "batches.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 9 * (16 * 2 + 16)
    by_batch: dict[tuple, set[float]] = {}
    for row in rows:
        by_batch.setdefault((row["group_size"], row["noise"], row["batch"]), set()).add(row["degenerate"])
    assert all(len(shares) == 1 for shares in by_batch.values())
    unit = {round(row["square"], 3) for row in rows if row["estimator"] == "krpo_unit_rms"}
    assert unit == {0.0, 1.0}  # 0 where all rewards of a batch were 0


def test_a_killed_probe_goes_on_and_ends_with_the_same_bytes(finished, tmp_path):
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "krpo.probe", "tiny", "--prompts", "2", "--group-sizes", "2,4", "--batches", "16"]
    command += ["--reference", "16", "--noise", "none,flip", "--set", "noise.rate=0.2", "--output", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while len(list(folder.glob("rollouts/*-*.safetensors"))) < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = {p: p.stat().st_mtime_ns for p in folder.glob("rollouts/*-*.safetensors")}
    assert len(kept) >= 6
    assert not (folder / "results.csv").exists()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert all(p.stat().st_mtime_ns == then for p, then in kept.items())
    for name in ("results.csv", "batches.jsonl", "probe.yaml"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()


def test_other_estimators_use_the_rollouts_that_are_there(tmp_path, finished, monkeypatch):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    monkeypatch.setattr("krpo.probe.run.FrozenPolicy", None)  # calling it would fail
    table = probe(ProbeSpec(**SMALL, estimators=(Named("remax"), Named("spo"), Named("opo")), visits=2), folder)
    assert {row["estimator"] for row in read_csv(table)} == {"remax", "spo", "opo", "oracle"}


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--estimators", "grpo,kpro"], ["kpro", "did you mean", "krpo"]),
        (["--estimators", "krpo(proces_variance=1)"], ["proces_variance", "process_variance"]),
        (["--estimators", "krpo("], ["krpo(", "no name"]),
        (["--estimators", "grpo,grpo"], ["grpo twice"]),
        (["--group-sizes", "1,4"], ["group_sizes", "at least 2"]),
        (["--group-sizes", "two"], ["two", "whole numbers"]),
        (["--batches", "8"], ["batches is 8", "16"]),
        (["--noise", "flp"], ["flp", "flip"]),
        (["--set", "noise.rate=0.2"], ["no noise is chosen"]),
        (["--noise", "flip", "--set", "noise.rate=2"], ["rate", "2"]),
        (["--task", "smus"], ["smus", "sums"]),
        (["--set", "batchez=20"], ["batchez", "batches"]),
        (["--reward", "shapd"], ["shapd", "shaped"]),
        (["--visits", "30"], ["visits", "reference"]),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(options, parts, capsys, tmp_path):
    assert main(["tiny", *options, "--output", str(tmp_path / "out"), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(part in said for part in parts), said


def test_a_folder_of_something_else_is_refused(tmp_path, capsys, finished):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["tiny", "--output", str(tmp_path)]) == 2
    assert "holds no probe" in capsys.readouterr().err
    assert main(["tiny", "--prompts", "3", "--group-sizes", "2,4", "--output", str(finished)]) == 2
    assert "other rollouts" in capsys.readouterr().err
    assert main(["no/such/folder", "--output", str(tmp_path / "new")]) == 2
    assert "no/such/folder" in capsys.readouterr().err


def test_names_with_parameters():
    assert parse_names("grpo, krpo(process_variance=1.0e-4, prior_mean=0.5)", "--estimators") == [
        "grpo",
        {"name": "krpo", "process_variance": 1e-4, "prior_mean": 0.5},
    ]


def test_a_checkpoint_is_probed_on_what_it_was_trained_on(tmp_path):
    spec = {"task": {"name": "sums", "levels": ["hard"]}, "reward": "shaped", "steps": 3}
    (tmp_path / "krpo.json").write_text(json.dumps({"spec": spec}))
    found = resolve(parser().parse_args([str(tmp_path)]))
    assert (found.task.label, found.reward) == (Named("sums", {"levels": ["hard"]}).label, "shaped")
    assert resolve(parser().parse_args([str(tmp_path), "--reward", "accuracy"])).reward == "accuracy"
