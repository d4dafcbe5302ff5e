"""Votes of a classifier under Gaussian noise."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import torch
from torch import Tensor

from smoothcert.device import is_out_of_memory
from smoothcert.errors import UserError
from smoothcert.models.classifier import Classifier, logits_are_finite
from smoothcert.progress import say
from smoothcert.seeds import derive_seed
from smoothcert.smoothing import backends
from smoothcert.smoothing.protocol import BackendName, Precision


class Sampler:
    """Counts the votes of a classifier smoothed with N(0, sigma^2 I) noise.

    Votes are made by the chunk. A chunk's noise depends on (seed, index of the image, stage,
    number of the chunk) alone and every forward pass has one shape; the counts of an image are
    therefore the same whatever else is counted and in whatever order, on the same device, back end
    and precision; on however many threads, but for the back end torch on a CPU, which may round
    another way; and as long as memory suffices: where it runs out, a smaller batch or another
    engine of cuDNN's may round another way. Memory does not grow with images or votes.

    Raises UserError if the device lacks the back end or the precision, or if the classifier's
    logits of a grey image are not finite: it would vote all the same.
    """

    def __init__(
        self,
        classifier: Classifier,
        sigma: float,
        seed: int,
        device: torch.device,
        precision: Precision = "auto",
        backend: BackendName = "auto",
    ):
        if not logits_are_finite(classifier.to(device).eval(), device):
            raise UserError(
                "the classifier's logits are not finite, so that it has no votes: its training "
                "diverged; train again with a lower training.lr"
            )
        self._backend = backends.build(classifier, sigma, device, backend, precision)
        self._labels = torch.arange(classifier.specification.classes, device=device)
        self._seed = seed

    @property
    def evaluation(self) -> dict[str, str]:
        """Return back end, its version and precision: a part of the certified classifier."""
        return {
            "backend": self._backend.name,
            "version": self._backend.version,
            "precision": self._backend.precision,
        }

    def __str__(self) -> str:
        return f"{self._backend.name} {self._backend.version} in {self._backend.precision}"

    @property
    def batch(self) -> int:
        """Return the noisy copies in one forward pass; it is halved where memory runs out."""
        return self._backend.batch

    @property
    def images(self) -> int:
        """Return how many images to count together so that the device does not wait."""
        return self._backend.images

    def counts(self, images: Tensor, indices: Sequence[int], stage: str, n: int) -> Tensor:
        """Return how often each class was voted for in ``n`` noisy copies of each image.

        ``images`` (B, C, H, W) float32 in [0, 1] are the test images of the B ``indices``; the
        result is int64 (B, classes), on the host. Votes of different stages are independent
        draws. Where memory runs out, the batch is halved for good and all is counted anew.

        Raises UserError if memory does not suffice for the smallest batch.
        """
        backend = self._backend
        images = images.to(backend.device)
        while True:
            try:
                return self._counts(images, indices, stage, n)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            backend.halve_batch()  # not above, where the error still holds what it was made of
            say(f"out of memory on {backend.device}: continuing with a batch of {backend.batch}")

    def _counts(self, images: Tensor, indices: Sequence[int], stage: str, n: int) -> Tensor:
        backend = self._backend
        chunks = -(-n // backend.chunk)
        jobs = iter(range(len(indices) * chunks))
        lock = threading.Lock()

        def work() -> Tensor:
            counts = self._labels.new_zeros((len(indices), len(self._labels)))
            while True:
                with lock:
                    job = next(jobs, None)
                if job is None:
                    return counts
                row, chunk = divmod(job, chunks)
                seed = derive_seed(self._seed, "certify", indices[row], stage, chunk)
                wanted = min(n - chunk * backend.chunk, backend.chunk)
                votes = backend.votes(images[row], seed, wanted)
                # Not bincount, for which a GPU makes the host wait.
                counts[row] += (votes[:, None] == self._labels).sum(0)

        if backend.streams == 1:
            # Not in a new thread: cuDNN keeps its plans by the thread, and never frees them.
            return work().cpu()
        with ThreadPoolExecutor(backend.streams) as pool:
            try:
                streams = [pool.submit(work) for _ in range(backend.streams)]
                wait(streams, return_when=FIRST_EXCEPTION)
            finally:
                # After an error or Ctrl-C no thread begins another job.
                with lock:
                    deque(jobs, maxlen=0)
            return torch.stack([stream.result() for stream in streams]).sum(0).cpu()
