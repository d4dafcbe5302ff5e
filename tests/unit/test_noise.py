from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from smoothcert.seeds import derive_seed
from smoothcert.smoothing import noise


def sample(seed: int, device: torch.device, size: int = 2**20) -> np.ndarray:
    return noise.draw((size // 1024, 1, 32, 32), seed, device).cpu().numpy().ravel()


def test_the_distribution_is_normal(device):
    values = sample(0, device, 2**22).astype(float)
    assert stats.kstest(values, "norm").pvalue > 1e-3
    edges = stats.norm.ppf(np.linspace(0, 1, 1001))
    edges[[0, -1]] = -100, 100
    observed, _ = np.histogram(values, edges)
    assert stats.chisquare(observed).pvalue > 1e-3


def test_the_tails_are_normal(device):
    size, blocks = 2**24, 12
    bounds = np.array([3.0, 4.0, 5.0, 5.5, 5.8])
    observed = np.zeros((2, len(bounds)), int)
    largest = 0.0
    for block in range(blocks):
        values = sample(derive_seed("tails", block), device, size)
        far = values[np.abs(values) > bounds[0]]
        observed[0] += (far[:, None] > bounds).sum(0)
        observed[1] += (far[:, None] < -bounds).sum(0)
        largest = max(largest, float(np.abs(far).max()))
    expected = size * blocks * stats.norm.sf(bounds)
    # Two-sided Poisson probabilities of what was seen, on both sides.
    distribution = stats.poisson(expected)
    probability = 2 * np.minimum(distribution.cdf(observed), distribution.sf(observed - 1))
    assert (probability > 1e-4).all(), (observed, expected)
    assert largest < 6.8


def test_pairs_are_box_and_mullers_of_the_generators_words():
    values, pairs = np.empty(2000, np.float32), 1000
    noise.fill(values, 7)
    words = np.random.SFC64(7).random_raw(pairs).view(np.int32).astype(float)
    radius = np.sqrt(-2 * np.log((np.abs(words[:pairs]) + 0.5) / 2**31))
    angle = np.pi * words[pairs:] / 2**31
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


def test_what_lies_beyond_the_largest_value_is_negligible(monkeypatch):
    class Extremes:
        """Words whose halves make the largest and the smallest radius."""

        def __init__(self, seed: int):
            pass

        def random_raw(self, pairs: int) -> np.ndarray:
            words = np.zeros(2 * pairs, np.int32)
            words[1] = -(2**31)
            return words.view(np.uint64)

    monkeypatch.setattr(np.random, "SFC64", Extremes)
    values = np.empty(8, np.float32)
    noise.fill(values, 0)
    assert values.max() == pytest.approx(np.sqrt(2 * np.log(2**32)))
    assert np.isfinite(values).all()
    assert values[1] == 0


def test_values_do_not_depend_on_their_neighbours(device):
    values = sample(1, device)
    scale = len(values) ** -0.5
    pairs = len(values) // 2  # Box and Muller's partners are half an array apart on a CPU
    for distance in (1, 2, 3, 32, 1024, pairs):
        for power in (1, 2):  # squares too: partners share a radius
            first, second = values[:-distance] ** power, values[distance:] ** power
            correlation = np.corrcoef(first, second)[0, 1]
            assert abs(correlation) < 5 * scale * (2 if distance == pairs else 1), distance


def test_streams_of_images_stages_and_chunks_are_independent(device):
    names = list(itertools.product((0, 1), ("choose", "estimate"), (0, 1)))
    streams = np.stack([sample(derive_seed(0, "certify", *name), device) for name in names])
    correlations = np.corrcoef(streams) - np.eye(len(names))
    assert np.abs(correlations).max() < 5 * streams.shape[1] ** -0.5
    assert stats.kstest(streams.sum(0) / len(names) ** 0.5, "norm").pvalue > 1e-3


def test_the_whole_seed_counts(device):
    first, again, other = (sample(seed, device, 2**12) for seed in (7, 7, 7 + 2**32))
    assert (first == again).all()
    assert (first != other).any()


def test_draws_are_channels_last(device):
    draws = noise.draw((2, 3, 4, 4), 0, device)
    assert draws.shape == (2, 3, 4, 4)
    assert draws.dtype == torch.float32
    assert draws.is_contiguous(memory_format=torch.channels_last)
