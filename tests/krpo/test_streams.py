"""Random streams: one seed, independent purposes, nothing remembered."""

from __future__ import annotations

import itertools

import numpy as np

from krpo.streams import derive_seed, generator


def test_purposes_do_not_collide_by_concatenation():
    asked = [(0, "a", 1), (0, "a1"), (0, "a", "1"), (1, "a", 1), (0, "rollout", 12), (0, "rollout", 1, 2)]
    assert len({derive_seed(*a) for a in asked}) == len(asked)


def test_a_stream_is_a_function_of_its_seed_and_purpose():
    first, again = generator(3, "noise", 5).random(8), generator(3, "noise", 5).random(8)
    np.testing.assert_array_equal(first, again)


def test_neighbouring_streams_are_uncorrelated_and_uniform():
    draws = np.stack([generator(seed, "x", step).random(1000) for seed, step in itertools.product(range(3), range(3))])
    correlation = np.corrcoef(draws) - np.eye(9)
    assert np.abs(correlation).max() < 4 / np.sqrt(1000)
    assert abs(draws.mean() - 0.5) < 4 * np.sqrt(1 / 12 / draws.size)


def test_the_number_of_bits_is_kept():
    assert all(derive_seed(i, "torch", bits=31) < 2**31 for i in range(100))
