"""The networks: one module an architecture, found by its file name, behind a normalisation."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from smoothcert.errors import UserError, reason
from smoothcert.extensions import Extensions

if TYPE_CHECKING:
    from smoothcert.datasets import Description
    from smoothcert.models.classifier import Classifier


@dataclass(frozen=True)
class Specification:
    """All that is needed to build a classifier before its weights are loaded."""

    arch: str
    channels: int
    size: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, arch: str, data: Description, normalize: str = "standard") -> Specification:
        """Return the specification of ``arch`` for the images of a data set.

        ``normalize`` takes off the data set's mean and divides by its standard deviation
        (standard), takes off the mean (center), or neither (none).
        """
        zeros, ones = (0.0,) * data.channels, (1.0,) * data.channels
        mean = zeros if normalize == "none" else data.mean
        std = data.std if normalize == "standard" else ones
        return cls(arch, data.channels, data.size, data.classes, mean, std)

    @classmethod
    def read(cls, content: dict[str, Any]) -> Specification:
        """Return the specification from its form in a checkpoint, where tuples are lists."""
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in content.items()})


def names() -> list[str]:
    """Return the names of all architectures: the modules of this package."""
    return _MODULES.names()


def refuse_other_size(arch: str, size: int) -> None:
    """Raise UserError if an architecture does not take images of ``size`` x ``size`` pixels.

    Its module is read, not imported, which would load torch.
    """
    path = Path(__path__[0], f"{arch}.py")
    stated = re.search(r"^SIZE = (\d+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    if not stated:
        raise UserError(
            f"{path} does not state the height and width that it takes; write them in a line of "
            "its own, as SIZE = 32"
        )
    taken = int(stated[1])
    if size != taken:
        raise UserError(
            f"arch {arch} takes images of {taken}x{taken} pixels, not {size}x{size}; choose "
            "another arch"
        )


def build(specification: Specification) -> Classifier:
    """Return a classifier with fresh weights, drawn from torch's global generator.

    Raises UserError if the architecture is unknown, does not take such images, does not answer
    with a logit for each class, or takes its logits from elsewhere than a linear layer.
    """
    import torch

    from smoothcert.models.classifier import Classifier

    arch = specification.arch
    module = _MODULES.load(arch)
    refuse_other_size(arch, specification.size)
    network = module.Network(specification.channels, specification.classes)
    if not isinstance(network, torch.nn.Module):
        raise UserError(f"{module.__file__}: Network must be a torch.nn.Module")
    grey = torch.full((1, specification.channels, specification.size, specification.size), 0.5)
    outputs: dict[str, torch.Tensor] = {}

    def noting(name: str) -> Callable[..., None]:
        return lambda layer, inputs, output: outputs.update({name: output})

    hooks = [
        part.register_forward_hook(noting(name))
        for name, part in network.named_modules()
        if isinstance(part, torch.nn.Linear)
    ]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = network.eval()(grey)
    except Exception as error:  # whatever the network's own code raises
        raise UserError(
            f"{module.__file__}: Network fails on an image {tuple(grey.shape)} "
            f"({type(error).__name__}: {reason(error)})"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    expected = 1, specification.classes
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UserError(
            f"{module.__file__}: Network must return a logit for each class, a tensor {expected} "
            f"for one image, not {found}"
        )
    heads = [name for name, output in outputs.items() if output is logits]
    if not heads:
        raise UserError(
            f"{module.__file__}: Network must return what a torch.nn.Linear gives, as it is; "
            "certification in bf16 and init_head: new treat that layer apart"
        )
    return Classifier(network.train(), specification, heads[-1])


def _fault(module: ModuleType) -> str | None:
    """Return what keeps a module from being an architecture, if anything does."""
    return None if hasattr(module, "Network") else "no class Network, as architectures have"


_MODULES = Extensions(__name__, "arch", _fault, support=frozenset({"classifier", "cifar_resnet"}))
