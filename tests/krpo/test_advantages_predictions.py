"""Theory's predictions for KRPO, worked out beforehand with numpy alone: reproduced or corrected, with errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from krpo.advantages import make_estimator
from krpo.advantages.measure import Setting, effective_share, gradient_variance, order_share, rms_over_grpo
from krpo.advantages.predictions import Toy, cosines, exact_relative_variance, matrix_of, mean
from krpo.config import Named

SIZES = (2, 4, 8, 12, 16, 32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("krpo", (3.85, 2.10, 1.57, 1.41, 1.34, 1.21)),
        ("krpo_uniform", (1.99, 1.70, 1.45, 1.33, 1.27, 1.16)),
        ("rloo", (2.00, 1.33, 1.14, 1.09, 1.07, 1.03)),
        ("dr_grpo", (2.00, 1.33, 1.14, 1.09, 1.07, 1.03)),
    ],
)
def test_relative_gradient_variance_at_a_pass_rate_of_one_half(name: str, expected: tuple[float, ...]) -> None:
    exact = [exact_relative_variance(matrix_of(name, g), 0.5) for g in SIZES]
    assert exact == pytest.approx(expected, abs=0.0056)


def test_krpo_s_relative_variance_does_not_depend_on_the_pass_rate_but_that_of_equal_weights_does() -> None:
    for g in SIZES:
        krpo = [exact_relative_variance(matrix_of("krpo", g), p) for p in (0.1, 0.5, 0.9)]
        assert max(krpo) / min(krpo) < 1.002
        uniform = [exact_relative_variance(matrix_of("krpo_uniform", g), p) for p in (0.1, 0.5, 0.9)]
        # the first answer's advantage is its reward: (1 + p/(1-p)) G sigma^2 / (G sigma)^2 instead of 1/G
        assert uniform[2] - uniform[1] == pytest.approx(8 / g, rel=1e-3)
        assert uniform[0] < uniform[1] < uniform[2]


@pytest.mark.parametrize(
    ("parameter", "value", "ratio"),
    [
        ("measurement_variance", 1e-4, 1.389),
        ("measurement_variance", 1e-3, 1.391),
        ("measurement_variance", 1e-1, 1.392),
        ("measurement_variance", 1.0, 1.287),
        ("measurement_variance", 10.0, 1.478),
        ("process_variance", 0.0, 1.415),
        ("process_variance", 1e-4, 1.388),
        ("process_variance", 1e-3, 1.386),
        ("process_variance", 1e-2, 1.628),
        ("process_variance", 1e-1, 1.991),
    ],
)
def test_no_parameter_reaches_the_mean_baseline(parameter: str, value: float, ratio: float) -> None:
    """Sweeps of both variances at G = 12 and p = 1/2, where the mean baseline has 12/11 = 1.09."""
    found = exact_relative_variance(matrix_of(Named("krpo", {parameter: value}), 12), 0.5)
    assert found == pytest.approx(ratio, abs=2e-3)
    assert found > 12 / 11


@pytest.mark.parametrize(("g", "size"), [(2, 1.03), (4, 2.79), (8, 6.30), (12, 9.84), (16, 13.4), (32, 28.0)])
def test_effective_number_of_krpo_s_weights(g: int, size: float) -> None:
    """(sum c)^2 / sum c^2; the first answer is thrown away."""
    c = np.diag(matrix_of("krpo", g))
    assert c.sum() ** 2 / np.square(c).sum() == pytest.approx(size, rel=4e-3)


@pytest.mark.parametrize(("correct", "variation"), [(1, 0.46), (11, 1.03)])
def test_an_answer_s_advantage_varies_with_its_place(correct: int, variation: float) -> None:
    """Coefficient of variation of one right answer's advantage over orders, 1 and 11 of 12 right."""
    random = torch.Generator().manual_seed(0)
    rewards_PG = torch.zeros(20_000, 12, dtype=torch.float64)
    rewards_PG[:, :correct] = 1
    order_PG = torch.rand(rewards_PG.shape, generator=random).argsort(dim=1)
    moved_PG = make_estimator("krpo")(rewards_PG.gather(1, order_PG))
    advantage_P = torch.zeros_like(moved_PG).scatter(1, order_PG, moved_PG)[:, 0]
    assert (advantage_P.std() / advantage_P.mean()).item() == pytest.approx(variation, abs=0.01)


SMALL = Setting(batches=60)


@pytest.mark.parametrize("g", [2, 4, 8, 16, 32])
def test_simulated_gradient_variances_agree_with_the_exact_ones(g: int) -> None:
    for name in ("krpo", "rloo", "krpo_permavg"):
        found = gradient_variance(name, SMALL, g)
        exact = exact_relative_variance(matrix_of(name, g), 0.5)
        # permavg's leak differs between pass rates by up to 0.08 at G = 2, which the prior over prompts averages
        slack = {"krpo_permavg": 0.05 if g == 2 else 0.01}.get(name, 0.0)
        assert abs(found.value - exact) < 4 * found.stderr + slack, (name, found, exact)


def test_simulated_order_share_scale_and_effective_size() -> None:
    share = order_share("krpo", SMALL, 12)
    assert 0.22 - 4 * share.stderr < share.value < 0.23 + 4 * share.stderr
    assert order_share("krpo_shuffled", SMALL, 12).value == pytest.approx(share.value, abs=0.01)
    scale = rms_over_grpo("krpo", SMALL, 12)
    assert 8.6 < scale.value < 12.1  # between the values at p = 0.1 and 0.5
    assert rms_over_grpo("grpo_scaled", SMALL, 12).value == pytest.approx(10, rel=1e-9)
    assert effective_share("reinforce_pp", SMALL, 12).value > 0.9 > effective_share("qae", SMALL, 12).value


# the independent computation, standard errors .004 to .008: GRPO, mean baseline, KRPO, KRPO with equal weights
PREDICTED = {
    4: {
        "none": (0.580, 0.582, 0.503, 0.512),
        "gaussian(sigma=0.1)": (0.463, 0.576, 0.496, 0.500),
        "gaussian(sigma=0.3)": (0.430, 0.498, 0.423, 0.446),
        "gaussian(sigma=0.6)": (0.330, 0.360, 0.294, 0.330),
        "flip(rate=0.1)": (0.456, 0.460, 0.385, 0.404),
        "flip(rate=0.2)": (0.342, 0.344, 0.276, 0.299),
        "flip(rate=0.4)": (0.116, 0.116, 0.093, 0.103),
    },
    12: {
        "none": (0.795, 0.810, 0.773, 0.770),
        "gaussian(sigma=0.1)": (0.742, 0.804, 0.769, 0.765),
        "gaussian(sigma=0.3)": (0.699, 0.741, 0.698, 0.704),
        "gaussian(sigma=0.6)": (0.571, 0.592, 0.541, 0.559),
        "flip(rate=0.1)": (0.682, 0.709, 0.664, 0.664),
        "flip(rate=0.2)": (0.547, 0.568, 0.518, 0.526),
        "flip(rate=0.4)": (0.208, 0.209, 0.183, 0.190),
    },
}
COLUMNS = ("grpo", "rloo", "krpo", "krpo_uniform")


@pytest.fixture(scope="module", params=[4, 12])
def grid(request: pytest.FixtureRequest) -> tuple[int, dict[tuple[str, str], np.ndarray]]:
    return request.param, cosines(Toy(repeats=150), request.param)


def test_cosines_under_noise_are_those_predicted(grid: tuple[int, dict[tuple[str, str], np.ndarray]]) -> None:
    g, found = grid
    for noise, values in PREDICTED[g].items():
        for name, value in zip(COLUMNS, values, strict=True):
            number = mean(found[noise, name])
            assert abs(number.value - value) < 4 * np.hypot(number.stderr, 0.006), (g, noise, name, number, value)


def test_who_wins_under_which_noise(grid: tuple[int, dict[tuple[str, str], np.ndarray]]) -> None:
    """Paired differences: the mean baseline beats KRPO everywhere; KRPO beats GRPO under small Gaussian noise only."""
    g, found = grid

    def lead(noise: str, one: str, other: str) -> float:
        """Mean paired difference in units of its standard error."""
        difference = mean(found[noise, one] - found[noise, other])
        return difference.value / difference.stderr

    for noise in PREDICTED[g]:
        assert lead(noise, "rloo", "krpo") > (3 if noise == "flip(rate=0.4)" else 5)
    assert lead("gaussian(sigma=0.1)", "krpo", "grpo") > 5
    for noise in ("none", "gaussian(sigma=0.6)", "flip(rate=0.1)", "flip(rate=0.2)", "flip(rate=0.4)"):
        assert lead(noise, "grpo", "krpo") > 3
    assert abs(lead("gaussian(sigma=0.3)", "krpo", "grpo")) < 4  # a tie
