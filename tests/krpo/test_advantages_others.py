"""The published comparison estimators against written-out loops and the worked numbers of their papers."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from krpo.advantages import make_estimator
from krpo.errors import BadInput

ROWS = [[1.0, 0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0, 1.0], [0.0] * 5, [0.3, 0.9, 0.6, 0.2, 0.7]]
LENGTHS = [[10, 20, 30, 40, 5], [7, 9, 50, 20, 12], [3, 4, 5, 6, 7], [11, 12, 13, 14, 15]]


def tensor(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def check(name: str, want: list[list[float]], rows: list[list[float]] = ROWS, **more: object) -> None:
    params = more.pop("params", {})
    got_PG = make_estimator(name, **params)(tensor(rows), **more)  # type: ignore[arg-type]
    torch.testing.assert_close(got_PG, tensor(want), rtol=1e-9, atol=1e-12)


def test_remax() -> None:
    greedy = torch.tensor([1.0, 0.0, 0.0, 0.5])
    want = [[r - g for r in row] for row, g in zip(ROWS, greedy.tolist(), strict=True)]
    check("remax", want, greedy_rewards_P=greedy)


def test_opo_is_the_length_weighted_mean_as_in_verl() -> None:
    want = []
    for row, lengths in zip(ROWS, LENGTHS, strict=True):
        baseline = sum(length * r for r, length in zip(row, lengths, strict=True)) / sum(lengths)
        want.append([r - baseline for r in row])
    check("opo", want, lengths_PG=torch.tensor(LENGTHS))


def test_opo_with_equal_lengths_is_dr_grpo_and_refuses_negative_ones() -> None:
    lengths_PG = torch.full((4, 5), 17)
    opo_PG = make_estimator("opo")(tensor(ROWS), lengths_PG=lengths_PG)
    torch.testing.assert_close(opo_PG, make_estimator("dr_grpo")(tensor(ROWS)))
    lengths_PG[0] = 0
    assert make_estimator("opo")(tensor(ROWS), lengths_PG=lengths_PG).isfinite().all()
    lengths_PG[1, 2] = -1
    with pytest.raises(BadInput, match="negative length"):
        make_estimator("opo")(tensor(ROWS), lengths_PG=lengths_PG)


def low_median(values: list[float]) -> float:
    return statistics.median_low(values)


@pytest.mark.parametrize("g", [5, 4])
def test_median(g: int) -> None:
    rows, want = [row[:g] for row in ROWS], []
    for row in rows:
        middle = low_median(row)
        mad = low_median([abs(r - middle) for r in row]) + 1e-3
        scaled = [(r - middle) / mad for r in row]
        nonzero = sum(abs(a) > 1e-6 for a in scaled)
        want.append([a * g / nonzero if nonzero else 0.0 for a in scaled])
    check("median", want, rows)


def test_median_of_a_binary_group_gives_the_minority_everything() -> None:
    got_G = make_estimator("median")(tensor([[1.0, 0.0, 0.0, 0.0, 0.0]]))[0]
    assert got_G.tolist() == pytest.approx([5000.0, 0, 0, 0, 0])  # 1 / 1e-3, times 5 answers / 1 that is not 0


@pytest.mark.parametrize(("correct", "baseline"), [(0, 0.0), (1, 0.0), (6, 0.0), (7, 1.0), (10, 1.0)])
def test_qae_of_binary_rewards(correct: int, baseline: float) -> None:
    """b = 0 where the pass rate is at most 1 - K = 0.6, else 1."""
    row = [1.0] * correct + [0.0] * (10 - correct)
    std = statistics.stdev(row)
    check("qae", [[(r - baseline) / (std + 1e-4) for r in row]], [row])


def test_qae_of_graded_rewards() -> None:
    row = ROWS[3]  # sorted .2 .3 .6 .7 .9; the second of five is the 0.4-quantile
    std = statistics.stdev(row)
    check("qae", [[(r - 0.3) / (std + 1e-4) for r in row]], [row])


def beta_density(x: float, a: float, b: float) -> float:
    return math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)) * x ** (a - 1) * (1 - x) ** (b - 1)


def test_bnpo() -> None:
    rates = [statistics.fmean(row) for row in ROWS]
    mean, variance = statistics.fmean(rates), statistics.variance(rates)
    strength = mean * (1 - mean) / variance - 1
    alpha, beta = max(1, 1 + strength * mean / 3), max(1, 1 + strength * (1 - mean) / 3)
    assert alpha > 1 < beta
    want = []
    for row, rate in zip(ROWS, rates, strict=True):
        weight = min(1 / max(beta_density(rate, alpha, beta), 1e-30), 1e6)
        want.append([(r - rate) * weight for r in row])
    check("bnpo", want)


def test_bnpo_of_one_prompt_is_dr_grpo() -> None:
    torch.testing.assert_close(make_estimator("bnpo")(tensor(ROWS[:1])), make_estimator("dr_grpo")(tensor(ROWS[:1])))


def test_mapo() -> None:
    want = []
    for row in ROWS:
        mean, std = statistics.fmean(row), statistics.stdev(row)
        p = sum(r == 1 for r in row) / len(row)
        lam = 1 - 4 * p * (1 - p)
        want.append([(1 - lam) * (r - mean) / (std + 1e-6) + lam * (r - mean) / (mean + 1e-6) for r in row])
    check("mapo", want)


def test_mapo_of_a_rare_right_answer_is_one_minus_p_over_p() -> None:
    row = [1.0] + [0.0] * 99
    got = make_estimator("mapo")(tensor([row]))[0, 0].item()
    p, lam = 0.01, 1 - 4 * 0.01 * 0.99
    assert got == pytest.approx(lam * (1 - p) / p + (1 - lam) * 0.99 / statistics.stdev(row), rel=1e-3)


@pytest.mark.parametrize("q", [0.0, 0.1, 0.3])
def test_s_grpo(q: float) -> None:
    want = []
    for row in ROWS:
        mean, std = statistics.fmean(row), statistics.stdev(row)
        t = min(max((mean - q) / (1 - 2 * q), 0), 1)
        spread = math.sqrt(mean * (1 - mean)) * math.sqrt(t * (1 - t))
        weight = (1 - 2 * q) * t * (1 - t) / spread if spread else 0.0
        want.append([weight * (r - mean) / (std + 1e-4) for r in row])
    check("s_grpo", want, params={"rate": q})


def test_s_grpo_without_noise_is_grpo() -> None:
    torch.testing.assert_close(make_estimator("s_grpo", rate=0)(tensor(ROWS)), make_estimator("grpo")(tensor(ROWS)))


def test_ngrpo_worked_example() -> None:
    """arXiv 2509.18851: one right of eight is worth 1.76 and the others -0.50; all wrong -0.33 each; all right 0."""
    got_PG = make_estimator("ngrpo")(tensor([[1.0] + [0.0] * 7, [0.0] * 8, [1.0] * 8]))
    assert got_PG[0, 0].item() == pytest.approx(1.76, abs=0.005)
    assert got_PG[0, 1:].tolist() == pytest.approx([-0.50] * 7, abs=0.005)
    assert got_PG[1].tolist() == pytest.approx([-0.33] * 8, abs=0.005)
    assert got_PG[2].tolist() == [0.0] * 8


def test_ngrpo_against_a_loop() -> None:
    want = []
    for row in ROWS:
        more = [*row, 1.0, 1.0]
        want.append([(r - statistics.fmean(more)) / (statistics.stdev(more) + 1e-6) for r in row])
    check("ngrpo", want, params={"count": 2})


def grpo_loop(row: list[float]) -> list[float]:
    return [(r - statistics.fmean(row)) / (statistics.stdev(row) + 1e-4) for r in row]


def test_noise_corrected() -> None:
    check("noise_corrected", [grpo_loop([(r - 0.2) / 0.5 for r in row]) for row in ROWS],
          params={"false_positive": 0.2, "false_negative": 0.3})  # fmt: skip
    without_std = [[(r - statistics.fmean(row)) / 0.5 for r in row] for row in ROWS]
    check("noise_corrected", without_std,
          params={"false_positive": 0.2, "false_negative": 0.3, "estimator": "dr_grpo"})  # fmt: skip


def test_noise_corrected_undoes_the_bias_of_a_noisy_verifier() -> None:
    """E[r' | r] = r where r is flipped at the assumed rates."""
    from krpo.noise import make_noise

    clean_PG = torch.tensor([[1.0, 0.0] * 4], dtype=torch.float64).expand(20_000, 8)
    noise = make_noise("asymmetric_flip", false_positive=0.2, false_negative=0.3)
    observed_PG = noise(clean_PG, seed=0, step=0, prompt_ids_P=["q"] * 20_000)
    corrected_PG = (observed_PG - 0.2) / (1 - 0.2 - 0.3)
    assert corrected_PG[:, ::2].mean().item() == pytest.approx(1, abs=0.02)
    assert corrected_PG[:, 1::2].mean().item() == pytest.approx(0, abs=0.02)


def test_sgpo_ranks_the_answers_of_a_lost_group_by_their_partial_credit() -> None:
    credit = [[0.0, 0.2, 0.4, 0.6, 0.8]] * 4
    lost = grpo_loop([1 / (1 + math.exp(5 * (0.5 - c))) for c in credit[2]])
    assert lost == sorted(lost)
    want = [grpo_loop(ROWS[0]), grpo_loop(ROWS[1]), lost, grpo_loop(ROWS[3])]
    check("sgpo", want, partial_credit_PG=tensor(credit))


def test_grpo_lead() -> None:
    want = []
    for row, lengths in zip(ROWS, LENGTHS, strict=True):
        right = [length for r, length in zip(row, lengths, strict=True) if r > 0.5]
        shaped = []
        for r, length in zip(row, lengths, strict=True):
            z = (length - statistics.fmean(right)) / (statistics.pstdev(right) + 1e-6) if r > 0.5 else 0.0
            shaped.append(math.exp(-0.05 * z) if r > 0.5 else -1.0)
        rho = len(right) / len(row)

        def weight(rate: float) -> float:
            return 0.4 + 1.1 / (1 + math.exp(10 * (rate - 0.75)))

        want.append([a * (weight(rho) if a > 0 else weight(1 - rho)) for a in grpo_loop(shaped)])
    check("grpo_lead", want, lengths_PG=torch.tensor(LENGTHS))


def test_grpo_lead_prefers_the_shorter_right_answer_and_the_harder_question() -> None:
    lengths_PG = torch.tensor([[10, 30, 20, 20]] * 2)
    hard_G, easy_G = make_estimator("grpo_lead")(tensor([[1, 1, 0, 0], [1, 1, 1, 0]]), lengths_PG=lengths_PG)
    assert hard_G[0] > hard_G[1] > 0
    assert hard_G[0] > easy_G[0]
    assert easy_G[3] < hard_G[3] < 0  # a mistake on an easy question costs more


def test_bad_parameters() -> None:
    for name, params, message in [
        ("noise_corrected", {"false_positive": 0.6, "false_negative": 0.5}, "must be below 1"),
        ("s_grpo", {"rate": 0.5}, "rate is 0.5"),
        ("qae", {"quantile": 0}, "quantile is 0.0"),
        ("ngrpo", {"count": 0}, "count is 0"),
        ("ngrpo", {"count": 1.5}, "'count' must be a whole number"),
        ("spo", {"decay": 1}, "decay is 1.0"),
        ("krpo_hierarchical", {"forgetting": 1}, "forgetting is 1.0"),
        ("krpo_persistent", {"measurement_variance": 0}, "measurement_variance is 0.0"),
        ("krpo_adaptive", {"rule": "bernouli"}, "did you mean bernoulli"),
        ("krpo_robust", {"threshold": 0}, "threshold is 0.0"),
        ("noise_corrected", {"estimator": "grop"}, "unknown estimator 'grop'; did you mean grpo"),
    ]:
        with pytest.raises(BadInput, match=message):
            make_estimator(name, **params)  # type: ignore[arg-type]
