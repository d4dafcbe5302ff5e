"""What the settings of all adversarial methods share. Imports no torch, as methods must not."""

from __future__ import annotations

from pydantic import Field

from smoothcert.settings import Section


class Perturbation(Section):
    """The bound on the perturbation of a training image, and the effort to find it."""

    epsilon: float = Field(255 / 256, gt=0)
    """L2 bound on the perturbation, on the [0, 1] pixel scale: the authors' argument / 256."""

    steps: int = Field(10, ge=1)
    """T, steps of the attack."""

    warmup: int = Field(10, ge=1)
    """Epochs over which the bound grows linearly up to epsilon; 1 is none."""

    def epsilon_at(self, epoch: int) -> float:
        """Return the bound in a 0-based epoch: the first has epsilon / warmup already."""
        return min(self.epsilon, (epoch + 1) * self.epsilon / self.warmup)
