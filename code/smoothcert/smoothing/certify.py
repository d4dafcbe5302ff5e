"""CERTIFY (Cohen et al. 2019, section 3.2.2), image by image, resumable."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothcert import records
from smoothcert.checkpoint import Checkpoint
from smoothcert.datasets.base import Dataset, to_unit
from smoothcert.device import describe
from smoothcert.errors import UserError
from smoothcert.progress import Progress, say
from smoothcert.records import ABSTAIN, Certificate, PartialTable
from smoothcert.smoothing import evaluation, modes
from smoothcert.smoothing.protocol import Protocol
from smoothcert.smoothing.sampling import Sampler
from smoothcert.smoothing.shards import WHOLE, Shard


def certify(
    checkpoint: Checkpoint,
    data: Dataset,
    protocol: Protocol,
    folder: Path,
    device: torch.device,
    shard: Shard = WHOLE,
    replace: bool = False,
) -> None:
    """Certify the protocol's images; write ``certificates.tsv`` and ``.json`` into ``folder``.

    The smoothing noise is the training noise and its seed the run's. Rows are written as they
    come; a killed call continues after its last whole row, and rows of other subsets below the
    model's folder are taken over, provided that weights, protocol, data, code, back end,
    precision and kind of device are the same. Of several shards, only this one is certified.
    Where ``folder`` holds these very certificates already, nothing is done. Where it holds others
    that are to be replaced, they stay until these are finished.

    Raises UserError if ``folder`` holds others that are not to be replaced, if the subset reaches
    beyond the test images, if mode radius can never certify its radius, if the classifier was
    trained on another version of the data, or if another process is writing the same table.
    """
    point = checkpoint.point
    mode = modes.of(protocol, point.sigma)
    if not mode.largest_radius(point.sigma):
        raise UserError(
            f"radius {protocol.radius:g} can never be certified with n {protocol.n} and alpha "
            f"{protocol.alpha:g} at sigma {point.sigma:g}: even unanimous votes do not; choose a "
            "smaller radius or a larger n"
        )
    sampler = evaluation.sampler_of(checkpoint, protocol, device)
    description = evaluation.describe(
        __name__, checkpoint, data, protocol, sampler.evaluation, device, shard
    )
    indices = shard.of(protocol.indices(len(data.test_labels)))
    if records.is_finished(folder, description, replace):
        say(f"{folder} holds these certificates already")
        return
    with PartialTable(folder, description) as table:
        table.take_over(records.siblings(checkpoint.path.parent, description), set(indices))
        say(f"certifying {point} on {describe(device)}, {sampler}")
        todo = [index for index in indices if index not in table.done]
        progress = Progress(len(indices), "image", done=len(table.done))
        work = _Work(sampler, data, protocol, mode, point.sigma)
        for first in range(0, len(todo), sampler.images):
            for certificate in work.certificates(todo[first : first + sampler.images]):
                table.append(certificate)
                progress.step(f"{table.summary()}  {work.speed():,.0f} votes/s")
        progress.close()
        table.finish()


@dataclass
class _Work:
    """Certifies groups of images that share the device."""

    sampler: Sampler
    data: Dataset
    protocol: Protocol
    mode: modes.Mode
    sigma: float
    _votes: int = 0
    _seconds: float = 0.0

    def certificates(self, indices: list[int]) -> Iterator[Certificate]:
        """Yield the certificates of a few images.

        The class is chosen by n0 votes (the lowest index among equals) and its probability is
        bounded by fresh ones. Choosing and estimating with the same votes would void the bound.
        """
        started = time.perf_counter()
        images = to_unit(self.data.read_test(indices))
        labels = self.data.test_labels[indices].numpy()
        chosen = self.sampler.counts(images, indices, "choose", self.protocol.n0).numpy()
        tops = chosen.argmax(1)
        wanted = tops == labels if self.protocol.mode == "evaluate" else np.ones_like(tops, bool)
        counts, votes, bounds = self._estimate(images, indices, tops, wanted)
        seconds = time.perf_counter() - started
        self._votes += int(votes.sum()) + len(indices) * self.protocol.n0
        self._seconds += seconds
        certified = bounds >= 0.5
        radii = np.where(certified, self.mode.radii(bounds, self.sigma), 0.0)
        for row, index in enumerate(indices):
            top = int(tops[row])
            yield Certificate(
                idx=index,
                label=int(labels[row]),
                predict=top if certified[row] else ABSTAIN,
                radius=float(radii[row]),
                correct=int(certified[row] and top == labels[row]),
                time=round(seconds / len(indices), 4),
                top=top,
                count0=int(chosen[row, top]),
                n0=self.protocol.n0,
                count=int(counts[row]),
                n=int(votes[row]),
                p_lower=float(bounds[row]),
                mode=self.protocol.mode,
                batch=self.sampler.batch,
            )

    def _estimate(
        self,
        images: Tensor,
        indices: list[int],
        tops: NDArray[np.int64],
        wanted: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return the fresh votes for each image's chosen class, of how many, and the bound on p_A.

        All are (B,), and 0 where no estimate is ``wanted``. An image gets votes look by look, until
        the mode is done with it.
        """
        open_ = wanted.copy()
        counts, votes = np.zeros((2, len(indices)), np.int64)
        bounds = np.zeros(len(indices))
        for look, total in enumerate(self.mode.looks):
            (rows,) = open_.nonzero()
            if not len(rows):
                break
            fresh = total - (self.mode.looks[look - 1] if look else 0)
            at_look = [indices[row] for row in rows]
            new = self.sampler.counts(images[rows], at_look, f"estimate {look}", fresh).numpy()
            counts[rows] += new[np.arange(len(rows)), tops[rows]]
            votes[rows] = total
            judged, done = self.mode.judge(look, counts[rows])
            bounds[rows] = np.maximum(bounds[rows], judged)
            open_[rows] = ~done
        return counts, votes, bounds

    def speed(self) -> float:
        """Return the votes counted in a second so far."""
        return self._votes / self._seconds
