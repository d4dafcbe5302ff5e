"""The guarantee of every mode, by simulation and where possible exactly."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from smoothcert.smoothing import modes
from smoothcert.smoothing.bounds import certified_radius, lower_bound
from smoothcert.smoothing.protocol import Protocol

PROBABILITIES = [0.4, 0.5, 0.6, 0.75, 0.9, 0.97, 0.99, 0.999, 0.9999]
ALPHAS = [0.001, 0.05, 0.2]
SIMULATIONS = 100_000
N = 10_000
SIGMA = 0.5


def mode(name, alpha=0.001, n=N, **settings):
    return modes.of(Protocol(mode=name, n=n, alpha=alpha, **settings), SIGMA)


def simulate(judge, p_a, simulations=SIMULATIONS, seed=0):
    """Return bounds and votes of images with probability ``p_a``, each stopped by the mode."""
    rng = np.random.default_rng([seed, int(p_a * 1e6)])
    bounds, votes = np.zeros(simulations), np.zeros(simulations, int)
    counts, left, before = np.zeros(simulations, int), np.arange(simulations), 0
    for look, total in enumerate(judge.looks):
        counts[left] += rng.binomial(total - before, p_a, len(left))
        votes[left] = before = total
        different, which = np.unique(counts[left], return_inverse=True)
        judged, done = judge.judge(look, different)
        bounds[left] = np.maximum(bounds[left], judged[which])
        left = left[~done[which]]
        if not len(left):
            break
    assert not len(left), "the last look leaves nothing open"
    return bounds, votes


def too_often(violations, alpha, simulations=SIMULATIONS):
    return binomtest(int(violations), simulations, alpha, alternative="greater").pvalue < 1e-6


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("p_a", PROBABILITIES)
@pytest.mark.parametrize("name", ["fixed", "staged", "radius"])
def test_coverage(name, p_a, alpha):
    """Radii above the true one are no more frequent than alpha; below 1/2 every one is wrong."""
    # The radius on trial is the true one or hardly less: the null hypothesis at its worst.
    at = {"radius": max(SIGMA * norm.ppf(p_a), 0.01)} if name == "radius" else {}
    bounds, _ = simulate(mode(name, alpha, **at), p_a)
    radii = np.where(bounds >= 0.5, certified_radius(bounds, SIGMA), -1)
    true = SIGMA * norm.ppf(p_a) if p_a > 0.5 else -0.5
    assert not too_often((radii > true + 1e-12).sum(), alpha)
    if name == "radius" and p_a > 0.5:  # equality is a true statement; a hair less is tested too
        below, _ = simulate(mode(name, alpha, radius=true + 1e-3), p_a)
        assert not too_often((below > 0).sum(), alpha)


def test_a_coverage_test_that_can_fail():
    """A bound at twice the level is found out."""
    bounds, _ = simulate(mode("fixed", 0.1), 0.9)
    assert too_often((bounds > 0.9).sum(), 0.05)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("p_a", PROBABILITIES)
def test_fixed_coverage_is_exact(p_a, alpha):
    counts = np.arange(N + 1)
    bounds = lower_bound(counts, N, alpha)
    assert binom.pmf(counts, N, p_a)[bounds > p_a].sum() <= alpha + 1e-12


@pytest.mark.parametrize("p_a", [0.6, 0.75, 0.9, 0.97, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize("n", [10_000, 100_000])
def test_staged_costs_little_radius_and_saves_votes(p_a, n):
    staged = mode("staged", n=n)
    bounds, votes = simulate(staged, p_a, 2000)
    fixed, _ = simulate(mode("fixed", n=n), p_a, 2000, seed=1)
    radius, reference = (np.median(certified_radius(b, SIGMA)) for b in (bounds, fixed))
    assert radius >= (1 - staged.tolerance) * reference
    assert votes.max() <= n


def test_staged_gives_up_early_on_hopeless_images():
    bounds, votes = simulate(mode("staged", n=100_000), 0.4, 1000)
    assert (bounds < 0.5).all()
    assert votes.mean() < 5000


def test_staged_is_done_where_the_cap_is_hardly_further():
    """All 1,000 votes agree at the second look: only the cap of 10,000 is beyond."""
    reached, cap = certified_radius([(0.15 * 0.001) ** (1 / 1000), (0.8 * 0.001) ** (1 / N)], 1.0)
    for tolerance, expected in ((1.001, True), (0.999, False)):
        staged = mode("staged", tolerance=tolerance * (1 - reached / cap))
        assert staged.judge(1, np.array([1000]))[1].tolist() == [expected]


@pytest.mark.parametrize("ratio", [1.1, 1.3, 2.0])
@pytest.mark.parametrize("r", [0.25, 0.5, 1.0])
def test_radius_finds_the_images_that_have_it(r, ratio):
    """At the default n, 95 % of images whose true radius is 1.1 r or more are certified at r."""
    bounds, votes = simulate(mode("radius", n=100_000, radius=r), norm.cdf(ratio * r / SIGMA), 2000)
    assert (bounds > 0).mean() >= 0.95
    assert votes.mean() < 100_000 / 4


def test_radius_gives_up_early_on_images_that_lack_it():
    bounds, votes = simulate(mode("radius", n=100_000, radius=0.5), 0.4, 1000)
    assert (bounds == 0).all()
    assert votes.mean() < 1000


@pytest.mark.parametrize("radius", [0.25, 0.5, 0.75, 1.25, 1.5])
def test_radius_certifies_exactly_that_radius(radius):
    at = mode("radius", radius=radius)
    bounds, _ = simulate(at, 0.9999, 100)
    assert set(at.radii(bounds, SIGMA)) - {0.0} == {radius}


def test_an_easy_image_needs_few_votes_for_one_radius():
    _, votes = simulate(mode("radius", n=100_000, radius=0.5), 0.9999, 2000)
    assert votes.mean() < 200


@pytest.mark.parametrize("name", ["fixed", "evaluate", "staged", "radius"])
@pytest.mark.parametrize("n", [20, 99, 1000, 100_000])
def test_looks_increase_to_n(name, n):
    at = {"radius": 0.5} if name == "radius" else {}
    looks = mode(name, n=n, **at).looks
    assert looks[-1] == n
    assert (np.diff([0, *looks]) > 0).all()


def test_the_largest_radius_is_that_of_unanimous_votes():
    assert mode("fixed").largest_radius(SIGMA) == certified_radius(0.001 ** (1 / N), SIGMA)
    assert 0 < mode("staged").largest_radius(SIGMA) < mode("fixed").largest_radius(SIGMA)
    assert mode("radius", n=100_000, radius=1.85).largest_radius(SIGMA) == 1.85
    assert mode("radius", n=1000, radius=1.2).largest_radius(SIGMA) == 0
    assert mode("staged").largest_bound == pytest.approx((0.8 * 0.001) ** (1 / N), abs=1e-12)
