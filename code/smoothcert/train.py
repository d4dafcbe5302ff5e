"""The training loop: schedule, minibatches, resume, log."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smoothcert import checkpoint, cuda_graph, datasets, extra, files, fingerprint, initial, models
from smoothcert.datasets.base import Dataset, to_unit
from smoothcert.device import describe, is_out_of_memory
from smoothcert.errors import UnreadableError, UserError
from smoothcert.methods.base import Method, Smoothing, Terms
from smoothcert.models.classifier import Classifier, logits_are_finite
from smoothcert.point import Point
from smoothcert.progress import Progress, say
from smoothcert.provenance import provenance
from smoothcert.run_files import MODEL, TRAINING_LOG, TRAINING_STATE
from smoothcert.seeds import derive_seed

LOCK = "train.lock"

ORIGIN = "code", "data", "init_from", "extra_images"
"""What decides the weights, beside the point and the machine."""

Row = dict[str, float]


def train(
    point: Point, data: Dataset, folder: Path, device: torch.device, replace: bool = False
) -> None:
    """Train ``point`` and write ``model.pt`` and ``train.tsv`` into ``folder``.

    After every epoch the state is saved beside them in ``resume.pt``, from which the next call
    continues to the weights that an uninterrupted run reaches. A resume file of other settings,
    seed, code or data is set aside. The same point on the same device, precision, thread count
    and versions gives the same weights, since all randomness of an epoch depends on (seed,
    epoch) alone, as long as memory suffices: cuDNN may choose another engine, which rounds another
    way, where its workspace does not fit.

    Where ``folder`` holds this very model already, nothing is done.

    Raises UserError if init_from or extra_images does not suit, if another process trains in the
    folder, or if the loss is not finite, naming epoch and batch; the last good resume file stays.
    A folder with another model.pt is refused: the certificates below it would seem to be of the
    new one. With ``replace``, one of this point, of other code, data or start, is replaced once the
    new one is trained.
    """
    source = _Source.open(point, data)
    state = _State.start(point, device)
    record = {
        **provenance(device, fingerprint.of_training(point), data.checksum),
        "init_from": state.origin,
        "extra_images": source.extra.checksum if source.extra else None,
    }
    files.make_folder(folder)
    with files.lock(folder / LOCK):
        if _is_trained(point, folder, record, replace):
            say(f"{folder} holds this model already")
        else:
            _train(point, source, state, record, folder, device)


def _train(
    point: Point,
    source: _Source,
    state: _State,
    record: dict[str, Any],
    folder: Path,
    device: torch.device,
) -> None:
    """Run the epochs that are left, and write the model with its ``record``."""
    parts = [record[key] for key in ORIGIN]
    identity = files.digest([point.content, *parts])
    rows = state.resume(folder / TRAINING_STATE, identity)
    state.devices = list(dict.fromkeys([*state.devices, record["device"]]))
    record["device"] = " and ".join(state.devices)
    say(f"training {point} on {describe(device)}")
    progress = Progress(point.training.epochs, "epoch", done=len(rows), seconds_between_lines=0)
    for epoch in range(len(rows), point.training.epochs):
        try:
            rows.append(_epoch(point, epoch, state, source, device))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"out of memory on {device} in epoch {epoch + 1} of {point}; lower "
                f"training.batch_size{_kept(epoch)}"
            ) from error
        state.save(folder / TRAINING_STATE, identity, rows)
        progress.step(_summary(rows[-1]))
    progress.close()
    files.write_text(folder / TRAINING_LOG, _table(rows))
    checkpoint.save(folder / MODEL, state.classifier, point, record)
    (folder / TRAINING_STATE).unlink(missing_ok=True)


def _is_trained(point: Point, folder: Path, record: dict[str, Any], replace: bool) -> bool:
    """Return whether the folder holds the point's model of the record's origin, and its log.

    Raises UserError if it holds another point's or, unless that is to be replaced, one of another
    origin.
    """
    path = folder / MODEL
    if not path.exists():
        return False
    found = checkpoint.load(path)
    if found.point != point:
        raise UserError(f"{path} is of another run; choose another folder, or delete it")
    if other := [key for key in ORIGIN if found.provenance.get(key) != record[key]]:
        if replace:
            return False
        raise UserError(
            f"{path} is of other {' and '.join(other)}; choose another folder, or train it anew "
            "with --replace"
        )
    return (folder / TRAINING_LOG).exists()


@dataclass(frozen=True)
class _Source:
    """Where the batches come from."""

    point: Point
    data: Dataset
    extra: extra.Extra | None

    @classmethod
    def open(cls, point: Point, data: Dataset) -> _Source:
        """Read the point's extra images, if it has some."""
        path, description = point.training.extra_images, datasets.describe(point.dataset)
        return cls(point, data, extra.read(Path(path), description) if path else None)

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Yield batches of images, uint8 (B, C, H, W), labels (B,), and the loss's factor."""
        training = self.point.training
        how = (training.batch_size, training.augment, generator)
        labelled = self.data.batches(*how)
        if self.extra:
            more = self.extra.batches(*how)
            count = math.ceil(len(self.data.train_labels) / training.batch_size)
            yield from extra.mixed(labelled, more, count, training.extra_weight, generator)
        else:
            yield from ((images, labels, 1.0) for images, labels in labelled)


@dataclass
class _State:
    """What changes from step to step."""

    classifier: Classifier
    optimizer: torch.optim.Optimizer
    origin: dict[str, Any] | None
    """A record of the weights that training started from, if they were not fresh."""
    devices: list[str] = field(default_factory=list)
    """What has trained it so far: a run may be continued elsewhere."""

    @classmethod
    def start(cls, point: Point, device: torch.device) -> _State:
        """Return a classifier with the point's first weights, and its optimizer."""
        training = point.training
        torch.manual_seed(derive_seed(point.seed, "weights"))
        classifier = models.build(
            models.Specification.of(
                point.arch, datasets.describe(point.dataset), training.normalize
            )
        )
        origin = None
        if training.init_from:
            path = Path(training.init_from)
            origin = initial.start_from(classifier, path, training.init_head)
        classifier = classifier.to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(
            classifier.parameters(),
            lr=training.lr,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
        )
        return cls(classifier, optimizer, origin)

    def resume(self, path: Path, identity: str) -> list[Row]:
        """Load the state at ``path`` if it is of this run; return the rows of its epochs."""
        if not path.exists():
            return []
        try:
            content = checkpoint.read(path)
            reason = None if content["identity"] == identity else "is of another run"
        except UnreadableError:
            raise
        except (UserError, KeyError, TypeError):
            reason = "cannot be read"
        if reason:
            aside = files.set_aside(path)
            say(f"{path} {reason}: set aside as {aside.name}, starting afresh")
            return []
        self.classifier.load_state_dict(content["classifier"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.devices = content["devices"]
        say(f"resuming after epoch {len(content['rows'])} from {path}")
        return content["rows"]

    def save(self, path: Path, identity: str, rows: list[Row]) -> None:
        """Save the state after the epochs of ``rows``."""
        content: dict[str, Any] = {
            "identity": identity,
            "rows": rows,
            "classifier": self.classifier.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "devices": self.devices,
        }
        checkpoint.write(path, content)


def _epoch(point: Point, epoch: int, state: _State, source: _Source, device: torch.device) -> Row:
    """Train one epoch; return its row of the log."""
    started = time.perf_counter()
    generator = torch.Generator(device).manual_seed(derive_seed(point.seed, "epoch", epoch))
    smoothing = Smoothing(point.sigma, epoch, generator)
    lr = point.training.learning_rate(epoch)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.classifier.train()
    step = cuda_graph.replayed(partial(_step, point, state, smoothing), generator)
    steps = []
    for pixels, labels, factor in source.epoch(generator):
        for part in minibatches(len(pixels), point.parameters):
            steps.append(step(pixels[part], labels[part], factor))
    log = torch.stack(steps).double().cpu()
    _refuse_not_finite(log[:, 0], epoch, point)
    _refuse_no_share(log[:, 2], point.method)
    # The weights of the last step have no loss yet.
    if not logits_are_finite(state.classifier.eval(), device):
        raise UserError(
            f"the logits of {point} are not finite after epoch {epoch + 1}; lower training.lr"
            f"{_kept(epoch)}"
        )
    loss, regularizer, hits = (log[:, :3] * log[:, 3:]).sum(0) / log[:, 3].sum()
    return {
        "epoch": epoch + 1,
        "lr": lr,
        "loss": float(loss),
        "regularizer": float(regularizer),
        "noisy_accuracy": float(hits),
        "seconds": time.perf_counter() - started,
    }


def _step(
    point: Point,
    state: _State,
    smoothing: Smoothing,
    pixels: Tensor,
    labels: Tensor,
    factor: float,
) -> Tensor:
    """Take one optimizer step; return its loss, regularizer, share of hits and images (4,)."""
    inputs = to_unit(pixels).contiguous(memory_format=torch.channels_last)
    bf16 = point.training.precision == "bf16"
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=bf16):
        terms = point.parameters.loss(state.classifier, inputs, labels, smoothing, point.weight)
    _refuse_other(terms, point.method)
    loss = terms.classification + terms.regularizer
    state.optimizer.zero_grad()
    (factor * loss).backward()
    state.optimizer.step()
    # Kept on the device: reading a value would make the GPU wait at every step.
    values = torch.stack([loss.detach(), terms.regularizer.detach(), terms.hits])
    return torch.cat([values, values.new_full((1,), len(inputs))])


def minibatches(images: int, method: Method) -> list[slice]:
    """Return the consecutive parts of a batch, each of which gets its own optimizer step.

    B images make m parts of B // m images; a remainder is dropped. (Salman et al. 2019 and
    Jeong & Shin 2020, as released: an epoch with m noises has m times the steps.)
    """
    size = images // method.minibatches
    return [slice(size * i, size * (i + 1)) for i in range(method.minibatches) if size]


def _refuse_other(terms: object, method: str) -> None:
    """Raise UserError if a method's loss returned anything but scalar tensors as Terms."""
    if isinstance(terms, Terms):
        values = (terms.classification, terms.regularizer, terms.hits)
        if all(isinstance(value, Tensor) and value.ndim == 0 for value in values):
            return
    raise UserError(
        f"the loss of method {method} must return Terms of three scalar tensors (methods/base.py)"
    )


def _refuse_no_share(hits: Tensor, method: str) -> None:
    bad = hits[~((hits >= 0) & (hits <= 1))]
    if len(bad):
        raise UserError(
            f"method {method} gives hits of {bad[0].item():g}, which are no share of the inputs; "
            "methods.base.hit_rate computes it"
        )


def _refuse_not_finite(losses: Tensor, epoch: int, point: Point) -> None:
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        step = int(bad[0])
        # Before the first step, nothing has been learned at any rate.
        remedy = (
            f"lower training.lr{_kept(epoch)}"
            if epoch or step
            else f"no step came before, so look at the loss of method {point.method}, lambda, the "
            "data and what training starts from, not at training.lr"
        )
        raise UserError(
            f"the loss of {point} became {losses[step].item()} in epoch {epoch + 1}, "
            f"batch {step // point.parameters.minibatches + 1}; {remedy}"
        )


def _kept(epoch: int) -> str:
    """Return what is left of the epochs before the 0-based ``epoch``."""
    return f" (the state after epoch {epoch} is kept)" if epoch else ""


def _table(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _summary(row: Row) -> str:
    return (
        f"loss {row['loss']:.4f}  regularizer {row['regularizer']:.4f}  "
        f"noisy accuracy {row['noisy_accuracy']:.4f}  lr {row['lr']:g}  {row['seconds']:.1f} s"
    )
