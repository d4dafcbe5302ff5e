"""Weights that were trained elsewhere, such as the papers' authors', as a checkpoint of ours.

Their programs save ``{"arch", "state_dict", "epoch", "optimizer"}`` (Cohen et al. 2019, Salman et
al. 2019, Jeong & Shin 2020) or ``{"net", "epoch"}`` (Zhai et al. 2020). That states neither data
set and noise nor the normalisation, whose constants are not among the weights.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from smoothcert import __version__, checkpoint, datasets, files, models
from smoothcert.checkpoint import Conversion
from smoothcert.errors import UserError
from smoothcert.progress import say

WEIGHTS = ("state_dict", "net")
"""Keys under which the papers' files hold their weights."""

WRAPPERS = re.compile(r"(module\.|_orig_mod\.|1\.)*")
"""Before the layers' names: of DataParallel, compile and Sequential(normalisation, network)."""


def convert(
    file: Path,
    output: Path,
    *,
    arch: str | None,
    dataset: str,
    normalize: str,
    sigma: float,
    seed: int,
) -> None:
    """Write to ``output`` a checkpoint with the weights in ``file``, as torch.save left them.

    ``arch`` may be None where the file states one. ``normalize`` is what the network expects, and
    ``sigma`` the noise that it was trained with; neither can be told from the weights. ``seed`` is
    that of the noise of certification.

    Raises UserError if the file cannot be read safely, is a checkpoint of ours, states another
    arch, or holds weights that are not finite or do not fit the arch or the data set's classes.
    """
    content = checkpoint.read(file)
    if output.exists() and output.samefile(file):
        raise UserError(f"{output} would replace the file to convert; name another --output")
    state = weights(file, content)
    broken = [key for key, values in state.items() if not values.isfinite().all()]
    if broken:
        raise UserError(f"{file} holds values that are not finite, the first in {broken[0]}")
    stated = stated_arch(content)
    if arch is None and stated is None:
        raise UserError(f"{file} states no known arch; give --arch: {', '.join(models.names())}")
    if None not in (arch, stated) and arch != stated:
        raise UserError(f"{file} states that its arch is {stated}, not {arch}; leave --arch out")
    origin = Conversion(
        dataset=dataset,
        arch=arch or stated,
        normalize=normalize,
        sigma=sigma,
        seed=seed,
        converted_from=file.name,
        sha256=files.sha256(file),
    )
    if output.exists() and checkpoint.load(output).point != origin:
        raise UserError(
            f"{output} is of other weights or settings; name another --output, or delete it"
        )
    specification = models.Specification.of(origin.arch, datasets.describe(dataset), normalize)
    classifier = models.build(specification)
    misfit = f"the weights in {file} do not fit a {origin.arch} for {dataset}"
    _fill(classifier.network, state, misfit)
    # No commit: the same weights converted again are the same file, whose certificates continue.
    checkpoint.save(output, classifier, origin, {"smoothcert": __version__})
    say(f"{output}: {origin}")


def weights(file: Path, content: Any) -> dict[str, Tensor]:
    """Return the one state_dict in the content of a file that is not ours, bare or under a key.

    Those under WEIGHTS come before all others. Raises UserError if there is none, or several.
    """
    if _is_state(content):
        return content
    parts = content if isinstance(content, dict) else {}
    if parts.get("format") == checkpoint.FORMAT:
        raise UserError(f"{file} is a smoothcert checkpoint already: use it as it is")
    found = [key for key in parts if _is_state(parts[key])]
    found = [key for key in WEIGHTS if key in found][:1] or found
    if len(found) == 1:
        return parts[found[0]]
    if found:
        raise UserError(
            f"{file} holds several state_dicts, under {', '.join(map(repr, found))}; save the one "
            "to convert alone"
        )
    raise UserError(f"{file} holds no weights: neither a bare state_dict nor one under a key")


def _is_state(content: Any) -> bool:
    """Return whether it is a state_dict: tensors by the names of their layers."""
    return (
        isinstance(content, dict)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
        and any(value.ndim for value in content.values())  # statistics have numbers alone
    )


def stated_arch(content: Any) -> str | None:
    """Return the network of ours that a file names, as ``cifar_resnet110`` names resnet110."""
    stated = content.get("arch") if isinstance(content, dict) else None
    name = stated.rpartition("_")[2] if isinstance(stated, str) else None
    return name if name in models.names() else None


def _fill(network: nn.Module, state: dict[str, Tensor], misfit: str) -> None:
    """Load ``state``; raise UserError, which begins with ``misfit``, if it is not the network's."""
    wrappers = WRAPPERS.match(next(iter(state)))[0]
    expected = {wrappers + key: value.shape for key, value in network.state_dict().items()}
    for key in state:
        if key not in expected:
            raise UserError(
                f"{misfit}: {key} is none of its layers; choose another --arch, or rename it"
            )
    for key in expected:
        # PyTorch up to 0.4.0 did not count batches, which matters to training alone.
        if key not in state and not key.endswith("num_batches_tracked"):
            raise UserError(
                f"{misfit}: {key} is missing; choose another --arch, or rename the layers"
            )
    *_, last = expected  # the bias of the last layer
    if state[last].ndim == 1 and len(state[last]) != expected[last][0]:
        raise UserError(
            f"{misfit}: they tell {len(state[last])} classes apart, not {expected[last][0]}; "
            "choose another --dataset"
        )
    for key, found in state.items():
        if found.shape != expected[key]:
            raise UserError(
                f"{misfit}: {key} has the shape {tuple(found.shape)}, not {tuple(expected[key])}; "
                "choose another --arch or --dataset"
            )
    network.load_state_dict({key.removeprefix(wrappers): value for key, value in state.items()})
