"""The everyday estimators against TRL's own arithmetic, written-out loops, and numbers computed by hand."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from krpo.advantages import make_estimator

ROWS = [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0], [0.5, 0.25, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]


def rewards(p: int, g: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return (
        torch.rand(p, g, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).round(decimals=2).to(dtype)
    )


def trl_advantages(rewards_PG: torch.Tensor, scale_rewards: str) -> torch.Tensor:
    """TRL 1.16, GRPOTrainer._generate_and_score_completions, for one reward function of weight 1."""
    from trl.trainer.utils import nanstd

    g = rewards_PG.shape[1]
    rewards_B = rewards_PG.flatten()
    mean_B = torch.nanmean(rewards_B.view(-1, g), dim=1).repeat_interleave(g, dim=0)
    if scale_rewards == "batch":
        std_B = nanstd(rewards_B).expand_as(rewards_B)
    else:
        std_B = nanstd(rewards_B.view(-1, g), dim=1).repeat_interleave(g, dim=0)
    advantages_B = rewards_B - mean_B
    if scale_rewards != "none":
        advantages_B = advantages_B / (std_B + 1e-4)
    return torch.nan_to_num(advantages_B, nan=0.0).view_as(rewards_PG)


@pytest.mark.parametrize(
    ("name", "scale_rewards"), [("grpo", "group"), ("dr_grpo", "none"), ("grpo_batch_std", "batch")]
)
@pytest.mark.parametrize("g", [2, 3, 8, 12, 16, 31])
def test_equals_trl_bit_for_bit(name: str, scale_rewards: str, g: int) -> None:
    for seed in range(5):
        rewards_PG = rewards(7, g, seed=seed)
        rewards_PG[0] = 1.0  # an all-equal group
        assert torch.equal(make_estimator(name)(rewards_PG), trl_advantages(rewards_PG, scale_rewards))


@pytest.mark.parametrize(
    ("name", "scale_rewards"), [("grpo", "group"), ("dr_grpo", "none"), ("grpo_batch_std", "batch")]
)
def test_equals_trl_bit_for_bit_where_answers_could_not_be_scored(name: str, scale_rewards: str) -> None:
    rewards_PG = rewards(6, 8)
    rewards_PG[0, 3] = rewards_PG[1, :7] = rewards_PG[2] = torch.nan  # one hole, one answer left, none left
    ours = make_estimator(name)(rewards_PG, mask_PG=~rewards_PG.isnan())
    assert torch.equal(ours, trl_advantages(rewards_PG, scale_rewards))


def test_grpo_by_hand() -> None:
    # one correct of 12: mean 1/12, unbiased variance (1/12)(11/12)(12/11) = 1/12
    row = torch.zeros(1, 12, dtype=torch.float64)
    row[0, 0] = 1
    got = make_estimator("grpo", eps=1e-12)(row)[0]
    assert got[0].item() == pytest.approx((11 / 12) / math.sqrt(1 / 12), rel=1e-10)  # 3.175
    assert got[1].item() == pytest.approx(-(1 / 12) / math.sqrt(1 / 12), rel=1e-10)


def test_group_baselines_against_loops() -> None:
    rewards_PG = torch.tensor(ROWS, dtype=torch.float64)
    flat = [r for row in ROWS for r in row]
    batch_std = statistics.stdev(flat)
    expected: dict[str, list[list[float]]] = {
        name: [] for name in ("grpo", "rloo", "dr_grpo", "grpo_batch_std", "reinforce_pp")
    }
    for row in ROWS:
        mean, std = statistics.fmean(row), statistics.stdev(row)
        expected["grpo"].append([(r - mean) / (std + 1e-4) for r in row])
        expected["dr_grpo"].append([r - mean for r in row])
        expected["rloo"].append([r - (sum(row) - r) / (len(row) - 1) for r in row])
        expected["grpo_batch_std"].append([(r - mean) / (batch_std + 1e-4) for r in row])
        expected["reinforce_pp"].append([(r - statistics.fmean(flat)) / (batch_std + 1e-8) for r in row])
    for name, want in expected.items():
        torch.testing.assert_close(
            make_estimator(name)(rewards_PG), torch.tensor(want, dtype=torch.float64), rtol=1e-12, atol=1e-14
        )


def test_reinforce_pp_baseline_against_a_loop() -> None:
    centred = [r - statistics.fmean(row) for row in ROWS for r in row]
    mean, std = statistics.fmean(centred), statistics.stdev(centred)
    want = torch.tensor([(d - mean) / (std + 1e-8) for d in centred], dtype=torch.float64).view(4, 4)
    got = make_estimator("reinforce_pp_baseline")(torch.tensor(ROWS, dtype=torch.float64))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


def test_rloo_is_dr_grpo_times_g_over_g_minus_one() -> None:
    rewards_PG = rewards(5, 6, torch.float64)
    torch.testing.assert_close(make_estimator("rloo")(rewards_PG), 6 / 5 * make_estimator("dr_grpo")(rewards_PG))


def test_grpo_scaled_is_ten_times_grpo() -> None:
    rewards_PG = rewards(5, 6, torch.float64)
    torch.testing.assert_close(make_estimator("grpo_scaled")(rewards_PG), 10 * make_estimator("grpo")(rewards_PG))


def whitened_tokens(values_BT: torch.Tensor, *, bessel: bool, eps_inside: float) -> torch.Tensor:
    """Whitening of token values as verl (Bessel's correction, eps under the root) and OpenRLHF (neither) do it."""
    n = values_BT.numel()
    mean = values_BT.mean()
    variance = (values_BT - mean).square().mean() * (n / (n - 1) if bessel else 1)
    return (values_BT - mean) * torch.rsqrt(variance + eps_inside)


@pytest.mark.parametrize(("name", "centre"), [("reinforce_pp", False), ("reinforce_pp_baseline", True)])
def test_reinforce_pp_equals_verl_and_openrlhf_for_answers_of_equal_length(name: str, centre: bool) -> None:
    """Both whiten over tokens, so an answer counts as often as it has tokens; here each answer counts once.

    With T tokens each, verl's Bessel correction is that of B T tokens and OpenRLHF has none: constants of a batch.
    """
    rewards_PG = rewards(6, 5, torch.float64)
    scores_B = (rewards_PG - rewards_PG.mean(dim=1, keepdim=True) * centre).flatten()
    ours_B = make_estimator(name)(rewards_PG).flatten()
    b, t = 30, 7
    tokens_BT = scores_B[:, None].expand(b, t)
    verl_B = whitened_tokens(tokens_BT, bessel=True, eps_inside=1e-8)[:, 0]
    openrlhf_B = whitened_tokens(tokens_BT, bessel=False, eps_inside=0.0)[:, 0]
    torch.testing.assert_close(verl_B, ours_B * math.sqrt((b / (b - 1)) / (b * t / (b * t - 1))), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(openrlhf_B, ours_B * math.sqrt(b / (b - 1)), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("eps", [1e-6, 1e-9])
def test_grpo_with_the_eps_of_verl_and_of_openrlhf(eps: float) -> None:
    rewards_PG = rewards(6, 5, torch.float64)
    want = [[(r - statistics.fmean(row)) / (statistics.stdev(row) + eps) for r in row] for row in rewards_PG.tolist()]
    torch.testing.assert_close(make_estimator("grpo", eps=eps)(rewards_PG), torch.tensor(want, dtype=torch.float64))


def test_rloo_as_verl_writes_it() -> None:
    rewards_PG = rewards(6, 5, torch.float64)
    want_PG = rewards_PG * 5 / 4 - rewards_PG.mean(dim=1, keepdim=True) * 5 / 4
    torch.testing.assert_close(make_estimator("rloo")(rewards_PG), want_PG)
