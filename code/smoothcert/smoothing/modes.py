"""When enough votes are counted: the modes of certification, all valid at level alpha an image.

A mode looks at the votes after fixed numbers of them. At each look it gives a lower bound on
p_A, or 0, and says which images are done. The bound of an image is the largest that its looks
gave. Why each mode keeps the guarantee P(bound > p_A) <= alpha stands with its class; none may
use the votes that chose the class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincc, betaln, ndtr

from smoothcert.smoothing.bounds import certified_radius, lower_bound
from smoothcert.smoothing.protocol import STAGED_SHARES, Protocol

Bounds = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Mode(ABC):
    """How the votes of an image are judged."""

    looks: list[int]
    """Cumulative numbers of votes at which the mode judges, increasing."""

    @abstractmethod
    def judge(self, look: int, counts: NDArray[np.int64]) -> tuple[Bounds, Mask]:
        """Return lower bounds on p_A, float64 (B,), and which images need no more votes, bool (B,).

        ``counts``, int64 (B,), are the images' votes for their chosen classes among the first
        ``looks[look]`` ones; a bound of 0 says nothing.
        """

    def radii(self, bounds: Bounds, sigma: float) -> Bounds:
        """Return the certified L2 radii (B,) that bounds on p_A give, 0 for those below 1/2.

        They have the units of ``sigma``, of [0, 1] pixels.
        """
        return certified_radius(bounds, sigma)

    @property
    def largest_bound(self) -> float:
        """Return the lower bound on p_A of unanimous votes, the largest there is."""
        bounds, _ = self.judge(len(self.looks) - 1, np.array([self.looks[-1]]))
        return float(bounds[0])

    def largest_radius(self, sigma: float) -> float:
        """Return the radius of unanimous votes, beyond which nothing is certified; 0 if nothing is.

        It has the units of ``sigma``.
        """
        return float(self.radii(np.array(self.largest_bound), sigma))


@dataclass(frozen=True)
class Fixed(Mode):
    """CERTIFY as published (Cohen et al. 2019): one look after n votes.

    One Clopper-Pearson bound on votes independent of the choice, hence at level alpha.
    ``evaluate`` judges in the same way, but only images whose chosen class is their label.
    """

    n: int
    alpha: float

    @property
    def looks(self) -> list[int]:
        """Return the one look."""
        return [self.n]

    def judge(self, look: int, counts: NDArray[np.int64]) -> tuple[Bounds, Mask]:
        """Return the Clopper-Pearson bounds; every image is done."""
        return lower_bound(counts, self.n, self.alpha), np.ones(len(counts), bool)


@dataclass(frozen=True)
class Staged(Mode):
    """Group-sequential Clopper-Pearson: looks at n/100, n/10 and n votes.

    The looks spend STAGED_SHARES of alpha. Each look's Clopper-Pearson bound fails with
    probability at most its share; by the union bound all hold together with probability
    1 - alpha, so the largest is valid, whatever rule decides when to stop (Pocock 1977; Lan &
    DeMets 1983 for spending).

    An image is done when more votes could hardly help: the radius at an upper bound of p_A, or
    at the cap of n unanimous votes, exceeds the present one by less than ``tolerance`` of
    itself, or that upper bound is below 1/2.
    """

    n: int
    alpha: float
    tolerance: float

    @property
    def looks(self) -> list[int]:
        """Return the looks; small n leave out the first ones."""
        return sorted({max(self.n // 100, 1), max(self.n // 10, 1), self.n})

    def judge(self, look: int, counts: NDArray[np.int64]) -> tuple[Bounds, Mask]:
        """Return this look's Clopper-Pearson bounds at its share of alpha."""
        n, last = self.looks[look], len(self.looks) - 1
        shares = STAGED_SHARES[-len(self.looks) :]
        alphas = [self.alpha * share / sum(shares) for share in shares]
        bounds = lower_bound(counts, n, alphas[look])
        if look == last:
            return bounds, np.ones(len(counts), bool)
        upper = np.minimum(
            1 - lower_bound(n - counts, n, alphas[look]), lower_bound(self.n, self.n, alphas[last])
        )
        radius, best = certified_radius(bounds, 1.0), certified_radius(upper, 1.0)
        return bounds, radius >= (1 - self.tolerance) * best  # both are 0 if upper is below 1/2


@dataclass(frozen=True)
class AtRadius(Mode):
    """Decides for one radius r whether p_A exceeds Phi(r / sigma), by betting.

    Against a value p <= p_r = Phi(r / sigma) of p_A, a bet on some q > p_r multiplies the wealth
    at each vote by q / p_r (for) or (1 - q) / (1 - p_r) (against), whose mean is at most 1: the
    wealth is a nonnegative supermartingale that starts at 1, and so is its mixture over q,
    uniform on (p_r, 1). By Ville's inequality it reaches 1 / alpha with probability at most alpha,
    at whatever look (Shafer et al. 2011; Waudby-Smith & Ramdas 2024). Reaching it certifies r.

    The same bet the other way round gives an image up, which needs no guarantee. The looks double
    from 50 votes to n: more of them would save few votes, and waste passes, since those between
    two looks fill whole batches.
    """

    n: int
    alpha: float
    radius: float
    """r, on the [0, 1] pixel scale."""
    threshold: float
    """p_r = Phi(r / sigma)."""

    @property
    def looks(self) -> list[int]:
        """Return the looks."""
        looks = [min(50, self.n)]
        while looks[-1] < self.n:
            looks.append(min(2 * looks[-1], self.n))
        return looks

    def judge(self, look: int, counts: NDArray[np.int64]) -> tuple[Bounds, Mask]:
        """Return p_r where the bet is won, else 0."""
        n = self.looks[look]
        certified = self._log_wealth(counts, n) >= -np.log(self.alpha)
        given_up = self._log_wealth(counts, n, below=True) >= -np.log(self.alpha)
        bounds = np.where(certified, self.threshold, 0.0)
        return bounds, certified | given_up | (n == self.n)

    def radii(self, bounds: Bounds, sigma: float) -> Bounds:
        """Return r where it is certified, else 0; Phi^-1(Phi(r / sigma)) could fall short of r."""
        return np.where(bounds > 0, self.radius, 0.0)

    def _log_wealth(self, counts: NDArray[np.int64], n: int, below: bool = False) -> Bounds:
        """Return the log of the wealth of the mixture over q above (or below) the threshold."""
        threshold, votes, against = self.threshold, counts + 1, n - counts + 1
        prior = threshold if below else 1 - threshold
        # A mass of 0 is a wealth of 0; a threshold that rounds to 1 gives NaN, which wins no bet.
        with np.errstate(divide="ignore", invalid="ignore"):
            log_mass = np.log((betainc if below else betaincc)(votes, against, threshold))
            return (
                betaln(votes, against)
                + log_mass
                - np.log(prior)
                - counts * np.log(threshold)
                - (n - counts) * np.log1p(-threshold)
            )


def of(protocol: Protocol, sigma: float) -> Mode:
    """Return the protocol's mode for certificates at noise ``sigma``."""
    if protocol.mode == "staged":
        return Staged(protocol.n, protocol.alpha, protocol.tolerance)
    if protocol.mode == "radius":
        threshold = float(ndtr(protocol.radius / sigma))
        return AtRadius(protocol.n, protocol.alpha, protocol.radius, threshold)
    return Fixed(protocol.n, protocol.alpha)
