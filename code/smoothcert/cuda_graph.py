"""Training steps that a GPU records once and replays.

A step of a small network is some hundred short kernels, which a GPU computes faster than Python can
ask for them. A CUDA graph asks for all of them at once. It computes the same numbers: the kernels
are the same, and so is the noise, since the generator goes on from replay to replay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from smoothcert.errors import UserError, reason

WARM_UP = 4
"""Steps of a kind that come before it is recorded: libraries set themselves up in them."""

Step = Callable[[Tensor, Tensor, float], Tensor]
"""Takes images uint8 (B, C, H, W), labels (B,) and a factor; returns a tensor."""


def replayed(step: Step, generator: torch.Generator) -> Step:
    """Return ``step`` as one that is recorded and replayed, on a GPU, or else as it is.

    All of its randomness must come from ``generator``. What Python computes in it, as the learning
    rate or the length of an attack, stays as it was when the step was recorded, for each number of
    images and factor once; ask anew where that changes.

    The result raises UserError if a step cannot be recorded since it waits for the GPU.
    """
    return _Recorder(step, generator) if generator.device.type == "cuda" else step


class _Recorder:
    def __init__(self, step: Step, generator: torch.Generator):
        self._step, self._generator = step, generator
        self._seen: Counter[tuple[int, float]] = Counter()
        self._recordings: dict[tuple[int, float], _Recording] = {}

    def __call__(self, images: Tensor, labels: Tensor, factor: float) -> Tensor:
        kind = len(images), factor
        if self._seen[kind] < WARM_UP:
            self._seen[kind] += 1
            return self._aside(images, labels, factor)
        if kind not in self._recordings:
            self._recordings[kind] = _Recording(self._step, self._generator, images, labels, factor)
        return self._recordings[kind].replay(images, labels)

    def _aside(self, images: Tensor, labels: Tensor, factor: float) -> Tensor:
        """Take the step on the stream of the recordings, which the nodes of autograd remember."""
        stream, current = _stream(images.device), torch.cuda.current_stream(images.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = self._step(images, labels, factor)
        current.wait_stream(stream)
        return result


class _Recording:
    """A step of one kind, with the memory from which and to which it is replayed."""

    def __init__(
        self,
        step: Step,
        generator: torch.Generator,
        images: Tensor,
        labels: Tensor,
        factor: float,
    ):
        self._images, self._labels = images.clone(), labels.clone()
        self._graph = torch.cuda.CUDAGraph()
        if torch.__version__ < (2, 14):  # since then torch sees by itself what draws
            self._graph.register_generator_state(generator)
        # Threads that load images may go on meanwhile, hence the mode.
        recording = torch.cuda.graph(
            self._graph, stream=_stream(images.device), capture_error_mode="thread_local"
        )
        try:
            with recording:
                self._result = step(self._images, self._labels, factor)
        except RuntimeError as error:
            first = error.__context__ or error  # that of the step, before that of its end
            if "captur" not in str(first):
                raise first from None
            raise UserError(
                "a training step waits for the GPU and cannot be recorded: a method's loss must "
                "neither ask for values, as item(), tolist() or an if on a tensor do, nor bring "
                "numbers to the GPU, as torch.tensor or torch.where with a number do "
                f"({reason(first)})"
            ) from error
        # Recording leaves a write of the generator's offset on its stream, which replays set anew.
        torch.cuda.current_stream(images.device).wait_stream(_stream(images.device))

    def replay(self, images: Tensor, labels: Tensor) -> Tensor:
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._result.clone()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream of all recordings: libraries keep a workspace for every stream."""
    return torch.cuda.Stream(device)
