"""Reward noise: its rates, its streams, and what it must not depend on."""

from __future__ import annotations

import math

import pytest
import torch

from krpo.errors import BadInput
from krpo.noise import Draws, available_noises, make_noise

PROMPTS = [f"q{i}" for i in range(400)]


def observe(name: str, value: float, *, seed: int = 0, step: int = 1, g: int = 8, **params: float) -> torch.Tensor:
    clean_PG = torch.full((len(PROMPTS), g), value, dtype=torch.float64)
    return make_noise(name, **params)(clean_PG, seed=seed, step=step, prompt_ids_P=PROMPTS)


def test_the_pipeline_s_models_are_there() -> None:
    assert {"none", "gaussian", "flip"} <= set(available_noises())


def test_none_changes_nothing() -> None:
    assert torch.equal(observe("none", 0.5), torch.full((400, 8), 0.5, dtype=torch.float64))
    assert make_noise("none").youden_j == 1


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.25])
def test_flip_mirrors_at_its_rate(rate: float, value: float) -> None:
    observed_PG = observe("flip", value, rate=rate)
    assert set(observed_PG.unique().tolist()) <= {value, 1 - value}
    share = (observed_PG == 1 - value).double().mean().item()
    assert abs(share - rate) <= 4 * math.sqrt(rate * (1 - rate) / 3200) + 1e-12
    assert make_noise("flip", rate=rate).youden_j == pytest.approx(1 - 2 * rate)


def test_flips_at_a_low_rate_are_flips_at_a_high_rate_too() -> None:
    low_PG, high_PG = observe("flip", 0.0, rate=0.1), observe("flip", 0.0, rate=0.2)
    assert (high_PG >= low_PG).all()


def test_gaussian_has_its_moments_and_levels_differ_by_a_factor() -> None:
    error_PG = observe("gaussian", 0.5, sigma=0.3) - 0.5
    n = error_PG.numel()
    assert abs(error_PG.mean().item()) < 4 * 0.3 / math.sqrt(n)
    assert abs(error_PG.std().item() / 0.3 - 1) < 4 / math.sqrt(2 * n)
    torch.testing.assert_close(observe("gaussian", 0.5, sigma=0.6) - 0.5, 2 * error_PG)
    assert make_noise("gaussian", sigma=0.3).youden_j is None


def share_of(observed_PG: torch.Tensor, value: float, expected: float) -> bool:
    share = (observed_PG == value).double().mean().item()
    return abs(share - expected) <= 4 * math.sqrt(expected * (1 - expected) / observed_PG.numel()) + 1e-12


def test_one_sided_flips_leave_the_other_side_alone() -> None:
    assert share_of(observe("false_positive", 0.0, rate=0.3), 1.0, 0.3)
    assert share_of(observe("false_positive", 1.0, rate=0.3), 1.0, 1.0)
    assert share_of(observe("false_negative", 1.0, rate=0.3), 0.0, 0.3)
    assert share_of(observe("false_negative", 0.0, rate=0.3), 0.0, 1.0)
    assert share_of(observe("asymmetric_flip", 0.0, false_positive=0.5, false_negative=0.6), 1.0, 0.5)
    assert share_of(observe("asymmetric_flip", 1.0, false_positive=0.5, false_negative=0.6), 0.0, 0.6)


YOUDEN = [
    ("none", {}, 1.0),
    ("flip", {"rate": 0.2}, 0.6),
    ("false_positive", {"rate": 0.3}, 0.7),
    ("false_negative", {"rate": 0.7}, 0.3),
    ("asymmetric_flip", {"false_positive": 0.5, "false_negative": 0.6}, -0.1),
    ("question_flip", {"rate": 0.4}, 0.2),
    ("random", {"probability": 0.7}, 0.0),
]


@pytest.mark.parametrize(("name", "params", "j"), YOUDEN)
def test_youden_j_is_true_positive_rate_minus_false_positive_rate(
    name: str, params: dict[str, float], j: float
) -> None:
    assert make_noise(name, **params).youden_j == pytest.approx(j)
    right_PG, wrong_PG = observe(name, 1.0, **params), observe(name, 0.0, **params)
    # prompts are the independent draws where a question is flipped as a whole
    n = len(PROMPTS) if name == "question_flip" else right_PG.numel()
    assert abs((right_PG.mean() - wrong_PG.mean()).item() - j) < 4 * math.sqrt(2 * 0.25 / n)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("gaussian", {"sigma": 0.3}),
        ("student_t", {"sigma": 0.3}),
        ("group_offset", {"sigma": 0.3}),
        ("ar1", {"sigma": 0.3}),
    ],
)
def test_continuous_noise_has_no_youden_j_and_adds_the_same_to_any_reward(name: str, params: dict[str, float]) -> None:
    assert make_noise(name, **params).youden_j is None
    torch.testing.assert_close(observe(name, 0.0, **params) + 1, observe(name, 1.0, **params))
    twice = {**params, "sigma": 0.6}
    torch.testing.assert_close(observe(name, 0.0, **twice), 2 * observe(name, 0.0, **params))
    assert abs(observe(name, 0.0, **params).mean().item()) < 4 * 0.3 / math.sqrt(len(PROMPTS))


def test_uniform_fills_its_interval() -> None:
    error_PG = observe("uniform", 0.5, width=0.2) - 0.5
    assert -0.2 <= error_PG.min().item() < -0.19
    assert 0.19 < error_PG.max().item() <= 0.2
    assert error_PG.var().item() == pytest.approx(0.2**2 / 3, rel=0.1)


def test_student_t_has_heavy_tails_and_the_quantiles_of_its_distribution() -> None:
    error_PG = observe("student_t", 0.0, sigma=1.0, g=64)
    # P(|t_3| > 5.8409) = 0.01 (table); the noise is t divided by sqrt(3)
    beyond = (error_PG.abs() > 5.8409 / math.sqrt(3)).double().mean().item()
    assert abs(beyond - 0.01) < 4 * math.sqrt(0.01 / error_PG.numel())
    tail = observe("gaussian", 0.0, sigma=1.0, g=64).abs().max()
    assert error_PG.abs().max() > 1.5 * tail


def test_a_group_offset_is_one_number_for_the_group() -> None:
    observed_PG = observe("group_offset", 0.5, sigma=0.3)
    assert (observed_PG == observed_PG[:, :1]).all()
    assert (observed_PG[:, 0] - 0.5).std().item() == pytest.approx(0.3, rel=0.15)


def test_ar1_is_stationary_with_its_correlation() -> None:
    error_PG = observe("ar1", 0.0, sigma=1.0, correlation=0.8, g=32)
    for lag in (1, 2, 4):
        product_PG = error_PG[:, lag:] * error_PG[:, :-lag]
        assert product_PG.mean().item() == pytest.approx(0.8**lag, abs=0.08)
    for place in (0, 31):
        assert error_PG[:, place].std().item() == pytest.approx(1.0, abs=0.15)


def test_question_flips_move_a_whole_group_anew_in_each_step_or_for_the_run() -> None:
    first_PG, second_PG = observe("question_flip", 0.0, rate=0.3), observe("question_flip", 0.0, rate=0.3, step=2)
    assert (first_PG == first_PG[:, :1]).all()
    assert share_of(first_PG[:, 0], 1.0, 0.3)
    assert not torch.equal(first_PG, second_PG)
    lasting = [observe("question_flip", 0.0, rate=0.3, persistent=True, step=step) for step in (1, 2)]
    assert torch.equal(*lasting)
    assert share_of(lasting[0][:, 0], 1.0, 0.3)


def test_random_rewards_do_not_depend_on_the_reward() -> None:
    assert torch.equal(observe("random", 0.0), observe("random", 1.0))
    assert share_of(observe("random", 0.0, probability=0.7), 1.0, 0.7)


EVERY = [
    ("none", {}),
    ("gaussian", {"sigma": 0.1}),
    ("uniform", {"width": 0.1}),
    ("flip", {"rate": 0.3}),
    ("false_positive", {"rate": 0.3}),
    ("false_negative", {"rate": 0.3}),
    ("asymmetric_flip", {"false_positive": 0.3, "false_negative": 0.2}),
    ("question_flip", {"rate": 0.3}),
    ("student_t", {"sigma": 0.1}),
    ("group_offset", {"sigma": 0.1}),
    ("ar1", {"sigma": 0.1}),
    ("random", {}),
]


def test_every_name_is_tested() -> None:
    assert sorted(name for name, _ in EVERY) == available_noises()


@pytest.mark.parametrize(("name", "params"), EVERY)
def test_every_model_repeats_differs_between_seeds_and_keeps_what_is_unscored(
    name: str, params: dict[str, float]
) -> None:
    noise = make_noise(name, **params)
    prompts = [f"q{i}" for i in range(40)]
    rewards_PG = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    rewards_PG[3, 2] = torch.nan
    before_PG = rewards_PG.clone()
    first_PG = noise(rewards_PG, seed=0, step=1, prompt_ids_P=prompts)
    assert torch.equal(rewards_PG.nan_to_num(-1), before_PG.nan_to_num(-1))
    assert first_PG.dtype == torch.float32
    assert torch.equal(first_PG.isnan(), rewards_PG.isnan())
    repeated_PG = noise(rewards_PG, seed=0, step=1, prompt_ids_P=prompts)
    assert torch.equal(first_PG.nan_to_num(), repeated_PG.nan_to_num())
    for other in ({"seed": 1, "step": 1}, {"seed": 0, "step": 2}):
        other_PG = noise(rewards_PG, **other, prompt_ids_P=prompts)
        assert torch.equal(first_PG.nan_to_num(), other_PG.nan_to_num()) == (name == "none")
    # a prompt keeps its noise whatever stands beside it
    alone_PG = noise(rewards_PG[7:9], seed=0, step=1, prompt_ids_P=prompts[7:9])
    assert torch.equal(alone_PG, first_PG[7:9])


def test_draws_depend_on_seed_step_prompt_and_occurrence_only() -> None:
    base_PG = Draws(0, 1, ["a", "b", "a"], 6).uniform_PG()
    a_G, b_G, second_a_G = base_PG
    assert len(set(base_PG.flatten().tolist())) == 18
    assert (Draws(0, 1, ["b", "c"], 6).uniform_PG()[0] == b_G).all()  # whatever else is in the batch
    assert (Draws(0, 1, ["a", "a"], 6).uniform_PG()[1] == second_a_G).all()
    assert (Draws(0, 1, ["a"], 3).uniform_PG()[0] == a_G[:3]).all()  # whatever the group size
    assert (Draws(1, 1, ["a"], 6).uniform_PG() != a_G).all()
    assert (Draws(0, 2, ["a"], 6).uniform_PG() != a_G).all()


def test_unscored_answers_stay_unscored_and_dtype_is_kept() -> None:
    rewards_PG = torch.tensor([[1.0, torch.nan, 0.0]], dtype=torch.float32)
    for noise in (make_noise("flip", rate=1.0), make_noise("gaussian", sigma=0.1)):
        observed_PG = noise(rewards_PG, seed=0, step=0, prompt_ids_P=["a"])
        assert observed_PG.dtype == torch.float32
        assert observed_PG.isnan().tolist() == [[False, True, False]]


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("flop", {}, "unknown noise 'flop'; did you mean flip"),
        ("flip", {"rate": 1.5}, "rate is 1.5; it is a probability"),
        ("flip", {}, "parameter 'rate' is missing"),
        ("gaussian", {"sigma": -1}, "sigma is -1.0"),
        ("gaussian", {"sigma": "nan"}, "sigma is nan"),
        ("uniform", {"width": -1}, "width is -1.0"),
        ("student_t", {"sigma": 1, "degrees_of_freedom": 2}, "degrees_of_freedom is 2.0; it must be above 2"),
        ("ar1", {"sigma": 1, "correlation": 1}, "correlation is 1.0"),
        ("asymmetric_flip", {"false_positive": 2, "false_negative": 0}, "false_positive is 2.0"),
        ("question_flip", {"rate": 0.1, "persistent": 1}, "'persistent' must be true or false"),
    ],
)
def test_bad_names_and_parameters(name: str, params: dict[str, float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_noise(name, **params)


def test_shapes_must_belong_together() -> None:
    with pytest.raises(BadInput, match="1 prompts for rewards of shape"):
        make_noise("none")(torch.zeros(2, 3), seed=0, step=0, prompt_ids_P=["a"])
