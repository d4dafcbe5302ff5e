"""What evaluates the classifier on noisy images: OpenVINO on a CPU, torch on a GPU.

Back end and precision decide how the network rounds, and so are part of the classifier that is
certified; they are recorded with every certificate. Noise is drawn, scaled and added in float32,
the network rounds the sum to its precision, and logits are compared in float32. All forward
passes have one shape, and none depends on another: a chunk of noise gets the same votes whatever
is computed before, after or beside it, as long as memory suffices (cuDNN may choose another engine
where its workspace does not fit, and a halved batch may round another way).
"""

from __future__ import annotations

import copy
import logging
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from smoothcert.device import is_out_of_memory
from smoothcert.errors import UserError, reason
from smoothcert.models.classifier import Classifier
from smoothcert.smoothing import cpu, noise, protocol

if TYPE_CHECKING:
    import openvino


class Backend(Protocol):
    """Votes by the chunk."""

    name: str
    version: str
    precision: Literal["fp32", "bf16"]
    device: torch.device
    """Where images are taken and votes returned."""
    chunk: int
    """Noisy copies whose noise is drawn from one seed."""
    batch: int
    """Noisy copies in one forward pass: a chunk, or a part of one where memory ran out."""
    streams: int
    """Calls of ``votes`` that may run side by side, each in a thread of its own."""
    images: int
    """Images to count together so that the device does not wait for the host."""

    def votes(self, image: Tensor, seed: int, wanted: int) -> Tensor:
        """Return the classes, int64 (wanted,), of the first noisy copies of a chunk.

        ``image`` is (C, H, W) float32 in [0, 1]; 1 <= ``wanted`` <= chunk. If a batch is too large
        for the device, raises a RuntimeError that ``device.is_out_of_memory`` knows.
        """

    def halve_batch(self) -> None:
        """Halve the batch, or raise UserError if it cannot be smaller."""


def build(
    classifier: Classifier,
    sigma: float,
    device: torch.device,
    name: protocol.BackendName,
    precision: protocol.Precision,
) -> Backend:
    """Return the back end ``name``; ``auto`` is the faster one on ``device``.

    Precision ``auto`` is bf16 where the device computes in it, else fp32.

    Raises UserError if the device lacks the back end or the precision, or if OpenVINO cannot
    compile the classifier.
    """
    if name == "torch" or (name == "auto" and device.type != "cpu"):
        return Torch(classifier, sigma, device, precision)
    if device.type != "cpu":
        raise UserError(f"backend openvino computes on a CPU, not on {device.type}; use torch")
    return OpenVino(classifier, sigma, device, precision)


class OpenVino:
    """A CPU, in single-threaded streams, as many as torch may use threads.

    Streams share no work, so that no sum depends on their number.
    """

    name = "openvino"
    images = 1
    # 50 to 250 are about equally fast; 100 divides the usual n0 and n.
    batch = chunk = 100

    def __init__(
        self,
        classifier: Classifier,
        sigma: float,
        device: torch.device,
        precision: protocol.Precision,
    ):
        import openvino

        self.version = openvino.__version__.split("-")[0]
        self.precision = _resolve(precision, cpu.has_bf16(), "this CPU")
        self.device = device
        self.streams = torch.get_num_threads()
        self._sigma = np.float32(sigma)
        specification = classifier.specification
        shape = _shape(self.chunk, classifier)
        try:
            compiled = cpu.core().compile_model(
                _converted(classifier.to(device).eval(), shape),
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[self.precision],
                    "NUM_STREAMS": self.streams,
                    "INFERENCE_NUM_THREADS": self.streams,
                    # The system, not OpenVINO, knows what else runs: jobs may share the machine.
                    "ENABLE_CPU_PINNING": False,
                },
            )
        except Exception as error:
            raise UserError(
                f"OpenVINO cannot compile arch {specification.arch} in {self.precision} "
                f"({reason(error)}); use backend torch"
            ) from error
        self._idle = SimpleQueue()
        for _ in range(self.streams):
            request = compiled.create_infer_request()
            noisy = np.empty(shape, np.float32)
            request.set_input_tensor(openvino.Tensor(noisy, shared_memory=True))
            self._idle.put((request, noisy))

    def votes(self, image: Tensor, seed: int, wanted: int) -> Tensor:
        """Return the classes, int64 (wanted,), of the first noisy copies of a chunk."""
        request, noisy = self._idle.get()
        try:
            noise.fill(noisy, seed)
            # numpy, because torch would start threads of its own here.
            np.multiply(noisy, self._sigma, out=noisy)
            np.add(noisy, image.numpy(), out=noisy)
            request.infer()
            return torch.from_numpy(request.get_output_tensor().data[:wanted].argmax(1))
        finally:
            self._idle.put((request, noisy))

    def halve_batch(self) -> None:
        """Raise UserError: the network is compiled for this one batch."""
        raise UserError(
            f"out of memory on {self.device} with batches of {self.batch} noisy copies; give the "
            "job more memory or fewer threads"
        )


class Torch:
    """torch: compiled on a GPU; on a CPU uncompiled, for networks that OpenVINO cannot compile."""

    name = "torch"
    version = str(torch.__version__)
    streams = 1

    def __init__(
        self,
        classifier: Classifier,
        sigma: float,
        device: torch.device,
        precision: protocol.Precision,
    ):
        gpu = device.type == "cuda"
        native = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        self.precision = _resolve(precision, native, f"torch on {device.type}")
        self.device = device
        if gpu:
            # It chooses kernels, which round, and may be another one under the same torch.
            self.version += f", cuDNN {torch.backends.cudnn.version()}"
        small = classifier.specification.size <= 64
        self.chunk = OpenVino.chunk if not gpu else 4096 if small else 512
        self.batch = self.chunk
        self.images = 8 if gpu and small else 1
        self._sigma = sigma
        self._shape = _shape(self.chunk, classifier)
        if self.precision == "bf16":
            classifier = _with_head_in_float32(classifier)
        self._classifier = classifier.to(device, memory_format=torch.channels_last).eval()
        self._classify = self._uncompiled
        if gpu:
            # A process compiles a function eight times at most, and runs it uncompiled after that.
            torch.compiler.reset()
            # Kernels chosen by the clock could differ from process to process, and so the votes.
            self._classify = torch.compile(
                self._uncompiled, dynamic=False, options={"deterministic": True}
            )

    @torch.inference_mode()
    def votes(self, image: Tensor, seed: int, wanted: int) -> Tensor:
        """Return the classes, int64 (wanted,), of the first noisy copies of a chunk."""
        draws = noise.draw(self._shape, seed, self.device)
        # Whole batches, so that all passes have one shape, but none without a wanted copy.
        batches = draws.split(self.batch)[: -(-wanted // self.batch)]
        try:
            return torch.cat([self._classify(batch, image) for batch in batches])[:wanted]
        except torch._dynamo.exc.ShortenTraceback as error:
            if is_out_of_memory(error):
                raise
            cause = reason(getattr(error, "inner_exception", error))
            # Triton found no compiler, or called it in vain, as where a header is missing.
            if "C compiler" in str(error) or "CalledProcessError" in str(error):
                advice = (
                    "it needs a C compiler and Python's headers (as in the packages gcc and "
                    "python3-dev)"
                )
            else:
                advice = "choose another device"
            raise UserError(
                f"torch cannot compile the classifier for {self.device} ({cause}); {advice}"
            ) from error

    def halve_batch(self) -> None:
        """Halve the batch, or raise UserError if it is a single noisy copy."""
        if self.batch == 1:
            raise UserError(
                f"out of memory on {self.device} with one noisy copy a batch; choose another device"
            )
        torch.cuda.empty_cache()
        # A process compiles a function eight times at most, and runs it uncompiled after that.
        torch.compiler.reset()
        self.batch //= 2

    def _uncompiled(self, draws: Tensor, image: Tensor) -> Tensor:
        noisy = draws * self._sigma + image
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self._classifier(noisy)
        return logits.argmax(1)


class _InFloat32(nn.Module):
    """A layer that computes in float32 where autocast lets the others compute in bf16."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the layer makes of the inputs."""
        with torch.autocast(inputs.device.type, enabled=False):
            return self.layer(inputs.float())


def _with_head_in_float32(classifier: Classifier) -> Classifier:
    """Return a copy of the classifier whose logits autocast does not round to bf16.

    They would often tie, and ties go to the lowest class: twice as many votes would differ from
    those in fp32, and for an image most in one direction (benchmarks/README.md).
    """
    classifier = copy.deepcopy(classifier)
    head = classifier.network.get_submodule(classifier.head)
    classifier.network.set_submodule(classifier.head, _InFloat32(head))
    return classifier


def _converted(classifier: Classifier, shape: tuple[int, int, int, int]) -> openvino.Model:
    """Return the classifier as an OpenVINO model for inputs of ``shape``."""
    # Not openvino.convert_model, which reports each use to its makers over the network.
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    program = torch.export.export(classifier, (torch.zeros(shape),))
    frontend = FrontEndManager().load_by_framework("pytorch")
    logging.disable(logging.WARNING)  # it warns of operations that this torch does not have
    try:
        decoder = TorchFXPythonDecoder.from_exported_program(program, dynamic_shapes=False)
        return frontend.convert(frontend.load(decoder))
    finally:
        logging.disable(logging.NOTSET)


def _shape(batch: int, classifier: Classifier) -> tuple[int, int, int, int]:
    specification = classifier.specification
    return batch, specification.channels, specification.size, specification.size


def _resolve(precision: protocol.Precision, native: bool, where: str) -> Literal["fp32", "bf16"]:
    if precision == "auto":
        return "bf16" if native else "fp32"
    if precision == "bf16" and not native:
        raise UserError(f"{where} does not compute in bf16; use precision fp32 or auto")
    return precision
