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
    ],
)
def test_bad_names_and_parameters(name: str, params: dict[str, float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_noise(name, **params)


def test_shapes_must_belong_together() -> None:
    with pytest.raises(BadInput, match="1 prompts for rewards of shape"):
        make_noise("none")(torch.zeros(2, 3), seed=0, step=0, prompt_ids_P=["a"])
