"""The figures of an experiment: one module a kind, listed here. ``draw_figures`` draws them.

The page and the workflow's dry run read the list, so this module imports neither pandas nor
matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from smoothcert.analysis import manifest as about
from smoothcert.analysis.manifest import Manifest


class Kind(NamedTuple):
    """A kind of figure."""

    title: str
    caption: str
    """What it shows, for the report."""
    applies: Callable[[Manifest], bool] = lambda manifest: True
    """Whether an experiment has what the kind shows."""


FIGURES = {
    "certified_accuracy": Kind(
        "Certified accuracy against the radius",
        "Share of the test images that are correct with a certified radius of at least r.",
    ),
    "empirical": Kind(
        "Certified and empirical accuracy",
        "Certified accuracy, a lower bound under any perturbation of that norm, and what PREDICT "
        "still answers rightly under an attack, abstentions being wrong.",
        about.has_attack,
    ),
    "envelope": Kind(
        "Best certified accuracy at each radius",
        "At each radius the best of a family's models, over their noise levels, λ and entries. It "
        "is chosen on the images that it is shown for, which favours families of many models.",
        about.has_several_models,
    ),
    "representatives": Kind(
        "Models picked at random",
        "One model for each method: what a single training gives.",
        about.has_several_seeds,
    ),
    "tradeoff": Kind(
        "Clean accuracy against ACR",
        "Joined from the smallest λ to the largest.",
        about.has_sweep,
    ),
    "p_lower": Kind(
        "Lower bounds on p_A",
        "Share of images whose bound lies below a value, right or wrong, on an axis on which the "
        "certified radius is linear.",
        about.has_votes,
    ),
    "cost": Kind(
        "Training time against ACR",
        "The time is that of the run itself, without the training of weights that it started from.",
        about.has_several_costs,
    ),
    "training": Kind(
        "Training logs",
        "Means over an epoch, on noisy training images. The loss includes the regularizer with "
        "its weight; the noisy accuracy is the share of noisy inputs classified as their label.",
        about.has_training,
    ),
}
"""Name, which is that of the module and of the files, and kind, in the order of the report."""

FIGURE_FORMATS = ("svg", "pdf", "png", "csv")
"""The figure in three formats, and as CSV what it shows."""


def names(manifest: Manifest) -> list[str]:
    """Return the names of the figures that apply to an experiment."""
    return [name for name, kind in FIGURES.items() if kind.applies(manifest)]
