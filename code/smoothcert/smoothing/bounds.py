"""Confidence bounds on p_A and the radius that follows from one."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri


def lower_bound(count: ArrayLike, n: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """Return the one-sided Clopper-Pearson lower bound at confidence 1 - alpha.

    ``count`` of ``n`` >= 1 independent votes fell on the class. The bound p satisfies
    P(Binomial(n, p) >= count) = alpha, the alpha quantile of Beta(count, n - count + 1); it is
    0 for count = 0 and alpha^(1/n) for count = n. (Clopper & Pearson 1934; LowerConfBound in
    Cohen et al. 2019, appendix C.)
    """
    count, n = np.broadcast_arrays(np.asarray(count, float), np.asarray(n, float))
    quantile = betaincinv(np.maximum(count, 1), n - count + 1, alpha)
    return np.where(count > 0, quantile, 0.0)


def certified_radius(p_lower: ArrayLike, sigma: float) -> NDArray[np.float64]:
    """Return sigma * Phi^-1(p_lower), the L2 radius, and 0 where p_lower is below 1/2.

    ``p_lower`` bounds the top class's probability p_A from below. The runner-up's probability is
    at most 1 - p_A, so theorem 1 of Cohen et al. 2019 gives sigma/2 (Phi^-1(p_A) -
    Phi^-1(1 - p_A)). The radius has the units of sigma: the L2 norm of [0, 1] pixels.
    """
    return sigma * ndtri(np.maximum(p_lower, 0.5))


def smallest_n(alpha: float) -> int:
    """Return the least n >= 1 at which unanimous votes certify, alpha^(1/n) > 1/2.

    ``alpha`` lies in (0, 1). (Of the bound for count = n: Cohen et al. 2019, appendix C.)
    """
    return math.floor(-math.log2(alpha)) + 1


def largest_radius(n: int, alpha: float, sigma: float) -> float:
    """Return the radius of ``n`` >= 1 unanimous votes: no image can be certified beyond it.

    It has the units of ``sigma``. (Cohen et al. 2019, section 3.2.2.)
    """
    return float(certified_radius(lower_bound(n, n, alpha), sigma))
