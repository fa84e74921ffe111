"""The stateful estimators, over several steps, against dense conditioning and loops written out."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch

from krpo.advantages import make_estimator
from krpo.errors import BadInput

STEPS = [
    (1, ["a", "b", "c"], [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]),
    (2, ["b", "a", "d"], [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]),
    (5, ["a", "e", "b"], [[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]),
]


def tensor(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_persistent_is_conditioning_on_the_prompt_s_past_and_the_group_s_others() -> None:
    """x_t is a random walk; the baseline is its mean given every reward of the prompt but the one in question."""
    Q, R, mean, P0 = 0.02, 0.15, 0.4, 0.1
    estimator = make_estimator(
        "krpo_persistent", process_variance=Q, measurement_variance=R, prior_mean=mean, prior_variance=P0
    )
    past: dict[str, list[tuple[int, float]]] = {}
    for step, ids, rows in STEPS:
        got_PG = estimator(tensor(rows), prompt_ids_P=ids, step=step)
        for name, row, got in zip(ids, rows, got_PG, strict=True):
            first = past[name][0][0] if name in past else step
            for i, r in enumerate(row):
                seen = past.get(name, []) + [(step, other) for j, other in enumerate(row) if j != i]
                when = np.array([t for t, _ in seen]) - first
                covariance = P0 + Q * np.minimum.outer(when, when) + R * np.eye(len(seen))
                weights = np.linalg.solve(covariance, P0 + Q * np.minimum(when, step - first))
                baseline = mean + weights @ (np.array([value for _, value in seen]) - mean)
                assert got[i].item() == pytest.approx(r - baseline, rel=1e-9)
        for name, row in zip(ids, rows, strict=True):
            past.setdefault(name, []).extend((step, r) for r in row)


def test_hierarchical_against_a_loop_that_leaves_each_prompt_out() -> None:
    Q, R0, mean0, P0, forgetting = 1e-3, 1 / 6, 1 / 2, 1 / 12, 0.9
    estimator = make_estimator("krpo_hierarchical")
    m, V = mean0, P0
    past = {"ws": 0.0, "wf": 0.0, "bs": 0.0, "bf": 0.0, "bn": 0.0}

    def evidence(rows: list[list[float]]) -> dict[str, float]:
        means = [statistics.fmean(row) for row in rows]
        freedom = len(rows) - 1
        return {
            "ws": sum((r - mu) ** 2 for row, mu in zip(rows, means, strict=True) for r in row),
            "wf": sum(len(row) - 1 for row in rows),
            "bs": sum((mu - statistics.fmean(means)) ** 2 for mu in means),
            "bf": freedom,
            "bn": freedom * statistics.fmean(1 / len(row) for row in rows),
        }

    def after(rows: list[list[float]]) -> tuple[float, float, float, float]:
        """R, tau^2, and the batch state's mean and variance after these rows."""
        now = evidence(rows)
        R = (past["ws"] + now["ws"] + R0) / (past["wf"] + now["wf"] + 1)
        tau2 = past["bs"] + now["bs"] - R * (past["bn"] + now["bn"]) + P0
        tau2 = max(tau2 / (past["bf"] + now["bf"] + 1), 1e-6)
        observed = (tau2 + R * statistics.fmean(1 / len(row) for row in rows)) / len(rows)
        gain = (V + Q) / (V + Q + observed)
        batch_mean = statistics.fmean(statistics.fmean(row) for row in rows)
        return R, tau2, m + gain * (batch_mean - m), (1 - gain) * (V + Q)

    for _, _, rows in STEPS:
        got_PG = estimator(tensor(rows))
        for p, row in enumerate(rows):
            R, tau2, mean, variance = after(rows[:p] + rows[p + 1 :])
            for i, r in enumerate(row):
                prior = variance + tau2
                top = mean / prior + sum(row[:i] + row[i + 1 :]) / R
                assert got_PG[p, i].item() == pytest.approx(r - top / (1 / prior + (len(row) - 1) / R), rel=1e-9)
        now = evidence(rows)
        _, _, m, V = after(rows)
        past = {k: forgetting * (past[k] + now[k]) for k in past}


@pytest.mark.parametrize("name", ["krpo_persistent", "krpo_hierarchical", "james_stein", "rloo", "krpo_loo"])
def test_the_baseline_does_not_contain_the_answer_s_own_reward(name: str) -> None:
    """What leaves the gradient unbiased: changing r_i moves A_i by the same amount (times its scale)."""
    rows = tensor(STEPS[0][2])
    extras = {"prompt_ids_P": ["a", "b", "c"], "step": 1}
    plain_PG = make_estimator(name)(rows, **extras)
    for p in range(3):
        for i in range(3):
            one, two = rows.clone(), rows.clone()
            one[p, i] += 1
            two[p, i] += 2
            first = make_estimator(name)(one, **extras)[p, i] - plain_PG[p, i]
            second = make_estimator(name)(two, **extras)[p, i] - plain_PG[p, i]
            assert second.item() == pytest.approx(2 * first.item(), rel=1e-9)
            if name != "krpo_loo":  # which has a scale
                assert first.item() == pytest.approx(1.0, rel=1e-9)


def test_hierarchical_estimates_the_two_variances() -> None:
    """Beta(2, 2) pass rates: variance 1/20 between prompts, mean p(1-p) of 1/5 within."""
    random = np.random.default_rng(0)
    estimator = make_estimator("krpo_hierarchical", forgetting=0.99)
    for _ in range(100):
        rates_P = random.beta(2, 2, size=(64, 1))
        estimator(torch.as_tensor((random.random((64, 8)) < rates_P).astype(float)))
    state = estimator.state_dict()["baseline"]
    within = state["within_squares"] / state["within_freedom"]
    between = (state["between_squares"] - within * state["between_noise"]) / state["between_freedom"]
    assert within == pytest.approx(0.2, rel=0.03)
    assert between == pytest.approx(0.05, rel=0.1)
    assert state["mean"] == pytest.approx(0.5, abs=0.08)  # the filter's own standard deviation is 0.024


def test_james_stein_against_a_loop() -> None:
    rows = STEPS[0][2] + [[0.25, 0.5, 1.0]]
    got_PG = make_estimator("james_stein")(tensor(rows))
    for p, row in enumerate(rows):
        others = rows[:p] + rows[p + 1 :]
        means = [statistics.fmean(other) for other in others]
        target = statistics.fmean(means)
        v = statistics.fmean(statistics.variance(other) / len(other) for other in others)
        s = statistics.fmean((mu - target) ** 2 for mu in means)
        lam = 3 / 4 * v / (v + s)
        for i, r in enumerate(row):
            mine = statistics.fmean(row[:i] + row[i + 1 :])
            assert got_PG[p, i].item() == pytest.approx(r - (1 - lam) * mine - lam * target, rel=1e-9)


def test_james_stein_of_one_prompt_or_of_equal_rewards_is_rloo() -> None:
    for rows in ([[1.0, 0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]):
        torch.testing.assert_close(make_estimator("james_stein")(tensor(rows)), make_estimator("rloo")(tensor(rows)))


def test_ebpo_against_a_loop() -> None:
    estimator = make_estimator("ebpo")
    rewards: list[float] = []
    means: list[float] = []
    for _, _, rows in STEPS:
        got_PG = estimator(tensor(rows))
        rewards += [r for row in rows for r in row]
        means += [statistics.fmean(row) for row in rows]
        noise, tau2 = statistics.variance(rewards) / 3, statistics.variance(means)
        shrink = noise / (noise + tau2)
        centred = [
            r - (1 - shrink) * statistics.fmean(row) - shrink * statistics.fmean(rewards) for row in rows for r in row
        ]
        mean, std = statistics.fmean(centred), statistics.stdev(centred)
        want_PG = tensor([[(d - mean) / (std + 1e-8)] for d in centred]).view(3, 3)
        torch.testing.assert_close(got_PG, want_PG, rtol=1e-9, atol=1e-12)


def test_spo_against_a_loop() -> None:
    estimator = make_estimator("spo")
    counters: dict[str, tuple[float, float]] = {}
    for _, ids, rows in STEPS:
        got_PG = estimator(tensor(rows), prompt_ids_P=ids)
        centred = []
        for name, row in zip(ids, rows, strict=True):
            alpha, beta = counters.get(name, (4.0, 4.0))  # 1 / (1 - 0.875) = 8 in all, at value 1/2
            centred += [r - alpha / (alpha + beta) for r in row]
            counters[name] = (0.875 * alpha + sum(row), 0.875 * beta + len(row) - sum(row))
        mean, std = statistics.fmean(centred), statistics.stdev(centred)
        want_PG = tensor([[(d - mean) / (std + 1e-8)] for d in centred]).view(3, 3)
        torch.testing.assert_close(got_PG, want_PG, rtol=1e-9, atol=1e-12)


def test_a_tracker_of_one_answer_a_step_is_a_moving_average_with_the_published_step() -> None:
    """SPO: an EMA with step 1 / (rho N_eff + 1); at N_eff = 8 and rho = 0.875 that is 1/8."""
    estimator = make_estimator("composed", baseline="beta_tracker")
    value = 0.5
    for r in (1.0, 0.0, 1.0, 1.0, 0.0):
        pair_PG = torch.tensor([[r, 0.0]], dtype=torch.float64)
        got_PG = estimator(pair_PG, mask_PG=torch.tensor([[True, False]]), prompt_ids_P=["q"])
        assert got_PG[0, 0].item() == pytest.approx(r - value, rel=1e-12)
        value += (r - value) / 8


def test_states_that_do_not_fit_are_refused() -> None:
    for name in ("krpo_hierarchical", "ebpo", "krpo_persistent", "spo"):
        with pytest.raises(BadInput):
            make_estimator(name).load_state_dict({"baseline": {"no such": 1}})


def test_ids_must_be_as_many_as_prompts() -> None:
    with pytest.raises(BadInput, match="prompt_ids_P has 2 names; there are 3 prompts"):
        make_estimator("krpo_persistent")(tensor(STEPS[0][2]), prompt_ids_P=["a", "b"], step=1)
