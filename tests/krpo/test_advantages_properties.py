"""What every registered advantage estimator is tested for, by name: a new one gets these tests for free.

The properties that `register_estimator` declares are checked both ways: one that is declared to hold must hold, one
that is declared not to hold must be seen to fail.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from krpo.advantages import available_estimators, make_estimator
from krpo.advantages.base import EXTRAS
from krpo.advantages.registry import BASELINES, ESTIMATORS, SCALES
from krpo.errors import BadInput

NAMES = available_estimators()
P, G = 6, 8


def facts(name: str) -> dict[str, str]:
    return dict(ESTIMATORS.entry(name).facts)


def declared(key: str, *values: str) -> list[str]:
    return [name for name in NAMES if facts(name)[key] in values]


def graded(p: int = P, g: int = G, seed: int = 0) -> torch.Tensor:
    return torch.rand(p, g, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def binary(p: int = P, g: int = G, seed: int = 0) -> torch.Tensor:
    return (graded(p, g, seed) < 0.4).double()


def extras_for(rewards_PG: torch.Tensor, seed: int = 1) -> dict[str, Any]:
    """Everything an estimator may ask for, made up."""
    p, g = rewards_PG.shape
    random = torch.Generator().manual_seed(seed)
    return {
        "lengths_PG": torch.randint(5, 60, (p, g), generator=random),
        "prompt_ids_P": [f"question {i}" for i in range(p)],
        "partial_credit_PG": torch.rand(p, g, generator=random, dtype=torch.float64),
        "correct_PG": rewards_PG.nan_to_num() > 0.5,
        "greedy_rewards_P": torch.rand(p, generator=random, dtype=torch.float64),
        "seed": 3,
        "step": 1,
    }


def run(name: str, rewards_PG: torch.Tensor, extras: dict[str, Any] | None = None, **more: Any) -> torch.Tensor:
    """The advantages in the second of two steps with the same rewards, so that a state, where there is one, shows."""
    estimator, extras = make_estimator(name), extras or extras_for(rewards_PG)
    estimator(rewards_PG, **extras, **more)
    return estimator(rewards_PG, **{**extras, "step": 2}, **more)


def close(a_PG: torch.Tensor, b_PG: torch.Tensor, relative: float = 1e-6) -> bool:
    return bool((a_PG - b_PG).abs().max() <= relative * max(a_PG.abs().max().item(), b_PG.abs().max().item(), 1e-12))


def test_every_estimator_declares_its_formula_source_and_properties() -> None:
    for name in NAMES:
        assert facts(name)["formula"], name
        assert facts(name)["source"], name
        if name != "composed":
            assert "undeclared" not in facts(name).values(), name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rewards_PG", [graded(), binary(), binary(3, 2), graded(1, 5), torch.ones(2, 2).double()])
def test_keeps_shape_and_dtype_and_stays_finite(name: str, rewards_PG: torch.Tensor) -> None:
    for dtype in (torch.float32, torch.float64):
        got_PG = run(name, rewards_PG.to(dtype))
        assert got_PG.shape == rewards_PG.shape
        assert got_PG.dtype == dtype
        assert got_PG.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_does_not_change_its_input(name: str) -> None:
    rewards_PG = graded()
    before_PG = rewards_PG.clone()
    run(name, rewards_PG)
    assert torch.equal(rewards_PG, before_PG)


@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_with_float64(name: str) -> None:
    for rewards_PG in (graded(), binary()):
        # 1/8 steps: the two precisions see the very same rewards, and agree on which of them are equal
        rewards_PG = (rewards_PG * 8).round() / 8
        assert close(run(name, rewards_PG.float()).double(), run(name, rewards_PG), 2e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rewards_PG", [graded(), binary()])
def test_masked_answers_get_nothing_and_do_not_move_the_others(name: str, rewards_PG: torch.Tensor) -> None:
    """Answers with holes between them are worth what they are worth without the holes."""
    holes = 3
    random = torch.Generator().manual_seed(4)
    place_PG = torch.rand(P, G + holes, generator=random).argsort(dim=1)[:, :G].sort(dim=1).values
    mask_PG = torch.zeros(P, G + holes, dtype=torch.bool).scatter(1, place_PG, True)

    def spread(values_PG: torch.Tensor) -> torch.Tensor:
        return torch.full((P, G + holes), torch.nan, dtype=torch.float64).scatter(1, place_PG, values_PG.double())

    extras = extras_for(rewards_PG)
    wide = {k: spread(v) if k.endswith("_PG") else v for k, v in extras.items()}
    got_PG = run(name, spread(rewards_PG), wide, mask_PG=mask_PG)
    assert (got_PG[~mask_PG] == 0).all()
    assert close(got_PG.gather(1, place_PG), run(name, rewards_PG, extras), 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_groups_with_one_or_no_scored_answer_are_harmless(name: str) -> None:
    rewards_PG, mask_PG = binary(), torch.ones(P, G, dtype=torch.bool)
    mask_PG[0], mask_PG[1, 1:] = False, False
    got_PG = run(name, rewards_PG, mask_PG=mask_PG)
    assert got_PG.isfinite().all()
    assert (got_PG[~mask_PG] == 0).all()
    nothing_PG = run(name, rewards_PG, mask_PG=torch.zeros(P, G, dtype=torch.bool))
    assert (nothing_PG == 0).all()


@pytest.mark.parametrize("name", declared("shift", "invariant", "other"))
def test_shift(name: str) -> None:
    rewards_PG = graded()
    rewards_PG[0] /= 2  # a group without a correct answer
    extras = extras_for(rewards_PG)
    shifted = {**extras, "greedy_rewards_P": extras["greedy_rewards_P"] + 2.5}
    same = close(run(name, rewards_PG, extras), run(name, rewards_PG + 2.5, shifted))
    assert same == (facts(name)["shift"] == "invariant")


@pytest.mark.parametrize("name", declared("scale", "equivariant", "invariant", "other"))
def test_scale(name: str) -> None:
    rewards_PG = 1e4 * graded()  # large, so that the eps of a division does not matter
    extras = extras_for(rewards_PG)
    extras["greedy_rewards_P"] = 1e4 * extras["greedy_rewards_P"]
    scaled = {**extras, "greedy_rewards_P": 3 * extras["greedy_rewards_P"]}
    if facts(name)["scale"] == "other":  # where rewards have a range, look at it
        rewards_PG, scaled = graded(), {**extras_for(rewards_PG)}
        extras = scaled
    plain_PG, scaled_PG = run(name, rewards_PG, extras), run(name, 3 * rewards_PG, scaled)
    found = {"equivariant": close(3 * plain_PG, scaled_PG), "invariant": close(plain_PG, scaled_PG)}
    assert [k for k, holds in found.items() if holds] == [k for k in found if k == facts(name)["scale"]]


@pytest.mark.parametrize("name", declared("order", "free", "dependent"))
def test_order(name: str) -> None:
    rewards_PG = graded()
    extras = extras_for(rewards_PG)
    order_PG = torch.rand(P, G, generator=torch.Generator().manual_seed(7)).argsort(dim=1)
    moved = {k: v.gather(1, order_PG) if k.endswith("_PG") else v for k, v in extras.items()}
    same = close(run(name, rewards_PG, extras).gather(1, order_PG), run(name, rewards_PG.gather(1, order_PG), moved))
    assert same == (facts(name)["order"] == "free")


@pytest.mark.parametrize("name", declared("all_equal", "zero", "other"))
def test_all_equal_group(name: str) -> None:
    rewards_PG = binary()
    worst = 0.0
    for level in (0.0, 0.3, 1.0):
        rewards_PG[2] = level
        worst = max(worst, run(name, rewards_PG)[2].abs().max().item())
    assert (worst < 1e-9) == (facts(name)["all_equal"] == "zero"), worst


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_refuses_rewards_that_are_not_numbers(name: str, value: float) -> None:
    rewards_PG = binary()
    rewards_PG[1, 2] = value
    with pytest.raises(BadInput, match=f"prompt 1, answer 2 is {value}"):
        run(name, rewards_PG)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (3, 1), (4,)])
def test_refuses_what_is_empty_or_no_group(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput):
        run(name, torch.zeros(shape), extras_for(binary()))


@pytest.mark.parametrize("name", [n for n in NAMES if make_estimator(n).extras])
def test_says_which_extra_is_missing(name: str) -> None:
    extras = extras_for(binary())
    for key in make_estimator(name).extras:
        assert key in EXTRAS
        with pytest.raises(BadInput, match=f"estimator '{name}' needs {key}"):
            run(name, binary(), {k: v for k, v in extras.items() if k != key})


@pytest.mark.parametrize("name", [n for n in NAMES if any(k.endswith(("_PG", "_P")) for k in make_estimator(n).extras)])
def test_refuses_extras_of_another_shape(name: str) -> None:
    extras = extras_for(binary(P + 1, G + 1))
    with pytest.raises(BadInput):
        run(name, binary(), extras)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_stopped_and_resumed_gives_what_one_that_was_not_gives(name: str) -> None:
    """Five steps with changing prompts; after the third, the state goes through JSON into a new estimator."""
    undisturbed, stopped = make_estimator(name), make_estimator(name)
    for step in range(5):
        if step == 3:
            state = json.loads(json.dumps(stopped.state_dict()))
            stopped = make_estimator(name)
            stopped.load_state_dict(state)
            assert stopped.state_dict() == undisturbed.state_dict()
        rewards_PG = binary(seed=step)
        extras = {**extras_for(rewards_PG, step), "step": step}
        extras["prompt_ids_P"] = [f"question {(i + 2 * step) % 9}" for i in range(P)]
        mask_PG = graded(seed=100 + step) < 0.9
        expected_PG = undisturbed(rewards_PG, mask_PG=mask_PG, **extras)
        assert torch.equal(stopped(rewards_PG, mask_PG=mask_PG, **extras), expected_PG)
    with pytest.raises(BadInput):
        make_estimator(name).load_state_dict({"no such thing": 1})


@pytest.mark.parametrize("name", NAMES)
def test_a_group_size_of_two_tells_a_right_answer_from_a_wrong_one(name: str) -> None:
    """The right answer is never worth less than the wrong one, on average over the two orders."""
    rewards_PG = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 3, dtype=torch.float64)
    extras = extras_for(rewards_PG)
    extras["lengths_PG"] = torch.full((6, 2), 20)
    got_PG = run(name, rewards_PG, extras)
    assert got_PG[rewards_PG == 1].mean() > got_PG[rewards_PG == 0].mean()


@pytest.mark.parametrize("baseline", BASELINES.names())
def test_every_baseline_goes_with_every_scale(baseline: str) -> None:
    rewards_PG, mask_PG = binary(), graded(seed=5) < 0.8
    extras = extras_for(rewards_PG)
    for scale in SCALES.names():
        estimator = make_estimator("composed", baseline=baseline, scale=scale)
        got_PG = estimator(rewards_PG, mask_PG=mask_PG, **extras)
        assert got_PG.shape == rewards_PG.shape
        assert got_PG.isfinite().all(), scale
        assert (got_PG[~mask_PG] == 0).all(), scale
        resumed = make_estimator("composed", baseline=baseline, scale=scale)
        resumed.load_state_dict(json.loads(json.dumps(estimator.state_dict())))
        later = {**extras, "step": 2}
        assert torch.equal(resumed(rewards_PG, **later), estimator(rewards_PG, **later)), scale


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_gives_on_a_gpu_what_it_gives_on_a_cpu(name: str) -> None:
    rewards_PG, mask_PG = binary(), graded(seed=5) < 0.8
    extras = extras_for(rewards_PG)
    for mask in (None, mask_PG):
        there = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in extras.items()}
        got_PG = run(name, rewards_PG.cuda(), there, mask_PG=None if mask is None else mask.cuda())
        assert got_PG.is_cuda
        assert close(got_PG.cpu(), run(name, rewards_PG, extras, mask_PG=mask), 1e-9)
