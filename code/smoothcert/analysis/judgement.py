"""The verdicts of an experiment: its cells beside the published numbers that it names."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from smoothcert.analysis import metrics, verdicts
from smoothcert.analysis.experiment import Experiment, Run, Target
from smoothcert.analysis.t_tests import Sample
from smoothcert.analysis.verdicts import Kind, Pair, Verdict
from smoothcert.published.number import OF_CERTIFY, Number
from smoothcert.records import ABSTAIN


@dataclass(frozen=True)
class Judged:
    """A target, one of its published numbers, and the verdict; None if nothing was run."""

    target: Target
    number: Number
    verdict: Verdict | None
    by_logs: bool = False
    """Whether the published logs' value on our images stands in for the number."""

    @property
    def kind(self) -> Kind:
        """The verdict in a word."""
        return self.verdict.kind if self.verdict else Kind.NOT_RUN


def judge(experiment: Experiment) -> list[Judged]:
    """Return the verdicts on all cells, in the order of the configuration.

    A run of ours is compared with the printed mean and deviation or, where the experiment holds
    logs of the very runs behind them, with those on our test images. A log itself is recomputed;
    on a part of its images it stands for the published run alone and gets no verdict.
    """
    targets = [
        replace(target, numbers=tuple(n for n in target.numbers if n.metric in OF_CERTIFY))
        for target in experiment.published
    ]
    samples = [_samples(experiment, target) for target in targets]
    logs = {
        _key(number): (sample, _doubt(experiment, target, number))
        for target, row in zip(targets, samples, strict=True)
        if target.log
        for number, sample in zip(target.numbers, row, strict=True)
    }
    judged: list[Judged] = []
    compared: dict[int, tuple[Pair, str | None]] = {}
    for target, row in zip(targets, samples, strict=True):
        for number, ours in zip(target.numbers, row, strict=True):
            if target.log and number.subset != experiment.protocol.subset:
                continue
            verdict, by_logs = None, False
            if not target.log and ours is not None:
                log, doubt = logs.get(_key(number), (None, None))
                pair = _pair(experiment, target, number, ours, log)
                by_logs = pair.theirs is log
                compared[len(judged)] = pair, doubt if by_logs else None
            if target.log:
                verdict = verdicts.recompute(ours, number)
            elif ours is None and _runs(experiment, target):
                verdict = verdicts.unknown(number)
            judged.append(Judged(target, number, verdict, by_logs))
    found = verdicts.judge([pair for pair, _ in compared.values()])
    for (place, (_, doubt)), verdict in zip(compared.items(), found, strict=True):
        reason = "; ".join(filter(None, (verdict.reason, doubt)))
        judged[place] = replace(judged[place], verdict=replace(verdict, reason=reason))
    return judged


def _doubt(experiment: Experiment, target: Target, number: Number) -> str | None:
    """Return in what logs that stand in for a printed ACR on our images differ from it on theirs.

    They may be of other runs, or be an edited file.
    """
    whole = [run.description.get("log_acr") for run in _runs(experiment, target)]
    if number.metric != metrics.ACR or not whole or None in whole:
        return None
    found = verdicts.recompute(Sample.of(whole), number)
    if found.kind is not Kind.DIFFERS or number.subset == experiment.protocol.subset:
        return None
    return f"theirs is by their logs, and on all images {found.reason} from what was printed"


def _key(number: Number) -> tuple:
    """Return what tells a number from all others; one table prints those of several methods."""
    training = (number.method, *sorted(number.settings.items()))
    return (number.source, number.table, training, number.sigma, number.metric, number.radius)


def _samples(experiment: Experiment, target: Target) -> list[Sample | None]:
    """Return the runs' values for each number of the target; None without runs or if unknown."""
    runs = _runs(experiment, target)
    columns = [[_value(run.outcomes, number) for run in runs] for number in target.numbers]
    return [Sample.of(c) if c and np.isfinite(c).all() else None for c in columns]


def _runs(experiment: Experiment, target: Target) -> list[Run]:
    """Return the target's runs."""
    place = (target.label, target.weight, target.sigma)
    return [
        run
        for run in experiment.runs
        if (run.row.label, run.point.weight, run.point.sigma) == place
    ]


def _value(certificates: pd.DataFrame, number: Number) -> float:
    """Return the number's metric with radii rounded as those behind it were."""
    if number.metric == metrics.ABSTENTION:
        unknown = metrics.evaluated_only(certificates)
        return math.nan if unknown else float((certificates["predict"] == ABSTAIN).mean())
    rounded = certificates.assign(radius=metrics.round_radii(certificates["radius"], number.radii))
    if number.metric == metrics.ACR:
        return float(metrics.credited_radius(rounded).mean())
    return float(metrics.certified(rounded, [number.radius]).mean())


def _pair(
    experiment: Experiment, target: Target, number: Number, ours: Sample, log: Sample | None
) -> Pair:
    protocol, margin = experiment.protocol, experiment.configuration["margin"]
    # The logs' values on our images stand in for the printed ones, whatever our subset.
    on_ours = log is not None and log.seeds == number.seeds
    theirs = log if on_ours else verdicts.printed(number)
    subset = number.subset if on_ours else protocol.subset
    differs = verdicts.incomparable_in(
        number, subset, protocol.n0, protocol.n, protocol.alpha, target.settings
    )
    if protocol.mode == "staged":
        differs += (verdicts.STAGED,)
    if "epochs" not in number.settings:
        differs += (verdicts.TRAINING_UNTOLD,)
    return Pair(
        ours,
        theirs,
        verdicts.margin(number.metric, theirs.mean, margin["acr"], margin["share"]),
        differs,
        number.best_of,
        # Of their logs we may take more images than our subset has.
        experiment.images if on_ours and protocol.subset != number.subset else None,
        number.images,
    )
