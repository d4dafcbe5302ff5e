"""The tables of an experiment: ACR, certified accuracy at a grid of radii, and every run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from smoothcert.analysis import experiment, metrics, render
from smoothcert.analysis.experiment import Experiment, Row, Run
from smoothcert.analysis.render import Block, Cell, Column, Table
from smoothcert.smoothing.bounds import largest_radius
from smoothcert.smoothing.protocol import Protocol

TABLES = ("acr", "certified_accuracy", "runs")

PROTOCOL = ("subset", "n0", "n", "alpha", "mode")


def write_tables(manifest: Path, folder: Path) -> None:
    """Write the tables of ``manifest`` into ``folder``: TABLES x TABLE_FORMATS.

    Each certificate table is read once. Raises UserError if the manifest or a run's file is
    missing, damaged or of another protocol.
    """
    content = experiment.load(manifest)
    cells, runs = _measure(content)
    for table in (_acr(content, cells), _certified_accuracy(content, cells), _runs(content, runs)):
        render.write(table, folder)


# Numbers


def _measure(content: Experiment) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the metrics of the cells, a row a quantity, and those of the runs, a row a run."""
    cells, runs = [], {}
    for (row, sigma), members in content.cells.items():
        cap = _cap(content, sigma)
        at = metrics.radii(content.radius_step, cap)
        quantities = metrics.quantities(at)
        values = []
        for run in members:
            certificates = run.read_certificates()
            values.append(metrics.image_values(certificates, at))
            one = metrics.over_seeds(values[-1:])
            runs[id(run)] = _run(content, run, certificates, quantities, one)
        estimate = metrics.over_seeds(values)
        for i, quantity in enumerate(quantities):
            cells.append(
                {
                    "label": row.label,
                    "lambda": _weights(members),
                    "sigma": sigma,
                    **quantity._asdict(),
                    "mean": estimate.mean[i],
                    "std": estimate.std[i],
                    "seeds": estimate.seeds,
                    "standard_error": estimate.standard_error[i],
                    "images": content.images,
                    **_protocol(content.protocol),
                }
            )
    return pd.DataFrame(cells), pd.DataFrame([runs[id(run)] for run in content.runs])


def _run(
    content: Experiment,
    run: Run,
    certificates: pd.DataFrame,
    quantities: list[metrics.Quantity],
    estimate: metrics.Estimate,
) -> dict[str, Any]:
    numbers = {
        quantity: (mean, error)
        for quantity, mean, error in zip(
            quantities, estimate.mean, estimate.standard_error, strict=True
        )
    }
    metric_columns = {}
    for name, quantity in (
        ("acr", metrics.Quantity(metrics.ACR)),
        ("clean_accuracy", metrics.Quantity(metrics.CERTIFIED, 0.0)),
        ("abstention", metrics.Quantity(metrics.ABSTENTION)),
        ("at_cap", metrics.Quantity(metrics.AT_CAP)),
    ):
        metric_columns[name], metric_columns[f"{name}_standard_error"] = numbers[quantity]
    return {
        "label": run.row.label,
        "lambda": run.point.weight,
        "sigma": run.point.sigma,
        "seed": run.point.seed,
        **metric_columns,
        "radius_cap": _cap(content, run.point.sigma),
        **{
            f"p_lower_q{q * 100:02.0f}": value
            for q, value in metrics.p_lower_quantiles(certificates).items()
        },
        "train_seconds": run.read_training()["seconds"].sum(),
        "seconds_per_image": certificates["time"].mean(),
        "device": run.description["provenance"]["device"],
        "images": len(certificates),
        **_protocol(content.protocol),
        "folder": str(run.certificates),
    }


def _weights(members: list[Run]) -> float:
    """Return the lambda that a cell's runs share."""
    (weight,) = {run.point.weight for run in members}
    return weight


def _cap(content: Experiment, sigma: float) -> float:
    return largest_radius(content.protocol.n, content.protocol.alpha, sigma)


def _protocol(protocol: Protocol) -> dict[str, Any]:
    return {key: getattr(protocol, key) for key in PROTOCOL}


# Layout


def _acr(content: Experiment, cells: pd.DataFrame) -> Table:
    data = cells[cells["metric"] == metrics.ACR]
    best = data.groupby("sigma")["mean"].max()
    rows = []
    for row in content.rows:
        found = {number["sigma"]: number for number in _of(row, data)}
        seeds = dict.fromkeys(str(number["seeds"]) for number in found.values())
        rows.append(
            [
                Cell(row.title),
                *(
                    _estimate(found[sigma], best[sigma], len(content.rows))
                    if sigma in found
                    else Cell("–")
                    for sigma in content.sigmas
                ),
                Cell(" / ".join(seeds)),
            ]
        )
    columns = [
        Column("Method", words=True),
        *(Column(f"σ = {sigma:.2f}") for sigma in content.sigmas),
        Column("Seeds"),
    ]
    return Table(
        "acr",
        "Average certified radius (ACR)",
        [
            "Mean over all test images of the subset, abstentions included, of the certified "
            "radius where the prediction is correct and 0 elsewhere; L2, on the [0, 1] pixel "
            "scale.",
            _spread_note(data, content),
            *_best_note(content, "of a column"),
            _protocol_note(content),
        ],
        [Block("", columns, rows)],
        data.drop(columns=["metric", "radius"]),
    )


def _certified_accuracy(content: Experiment, cells: pd.DataFrame) -> Table:
    blocks = []
    for sigma in content.sigmas:
        at_sigma = cells[cells["sigma"] == sigma]
        found = {row: list(_of(row, at_sigma)) for row in content.rows}
        found = {row: numbers for row, numbers in found.items() if numbers}
        columns = list(zip(*found.values(), strict=True))
        best = [max(number["mean"] for number in column) for column in columns]
        rows = [
            [
                Cell(row.title),
                *(_estimate(*pair, len(found)) for pair in zip(numbers, best, strict=True)),
                Cell(str(numbers[0]["seeds"])),
            ]
            for row, numbers in found.items()
        ]
        headings = [
            Column("Method", words=True),
            *(Column(_heading(column[0]["metric"], column[0]["radius"])) for column in columns),
            Column("Seeds"),
        ]
        cap = _cap(content, sigma)
        blocks.append(Block(f"σ = {sigma:.2f} (no radius beyond {cap:.3f})", headings, rows))
    return Table(
        "certified_accuracy",
        "Certified accuracy",
        [
            "Percentage of all test images of the subset, abstentions included, that are correct "
            "with a certified radius ≥ r; r = 0 is the papers' clean accuracy. At cap: all n votes "
            "agree, so the radius is the largest that n allows.",
            _spread_note(cells, content),
            *_best_note(content, "of ACR and of certified accuracy in a column"),
            _protocol_note(content),
        ],
        blocks,
        cells,
    )


def _runs(content: Experiment, runs: pd.DataFrame) -> Table:
    columns = [
        Column("Method", words=True),
        *(Column(heading) for heading in ("λ", "σ", "Seed", "ACR", "Clean %", "Abstained %")),
        Column("At cap %"),
        Column("p_A bound, 5%"),
        Column("p_A bound, median"),
        *(Column(heading) for heading in ("Training, s", "Certification, s/image")),
        Column("Certificates", words=True),
    ]
    rows = []
    for run, number in zip(content.runs, runs.to_dict("records"), strict=True):
        rows.append(
            [
                Cell(number["label"]),
                Cell(f"{number['lambda']:g}" if run.point.parameters.regularized else "–"),
                Cell(f"{number['sigma']:.2f}"),
                Cell(str(number["seed"])),
                *(
                    _cell(show, number[name], number[f"{name}_standard_error"])
                    for name, show in (
                        ("acr", _radius),
                        ("clean_accuracy", _percent),
                        ("abstention", _percent),
                        ("at_cap", _percent),
                    )
                ),
                _cell(_probability, number["p_lower_q05"]),
                _cell(_probability, number["p_lower_q50"]),
                Cell(f"{number['train_seconds']:,.1f}"),
                Cell(f"{number['seconds_per_image']:.3g}"),
                Cell(number["folder"]),
            ]
        )
    return Table(
        "runs",
        "Every run",
        [
            f"± is the standard error over the {content.images:,} images. The p_A bound is the "
            "lower confidence bound on the probability of the top class under noise: its 5% "
            "quantile and its median over all images.",
            _protocol_note(content),
        ],
        [Block("", columns, rows)],
        runs,
    )


def _of(row: Row, data: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the numbers of a row, in their order."""
    mine = data["label"] == row.label
    if row.weight is not None:
        mine &= data["lambda"] == row.weight
    yield from data[mine].to_dict("records")


def _estimate(number: dict[str, Any], best: float, rows: int) -> Cell:
    """Return mean ± std over seeds or, for one seed, ± the standard error over images."""
    metric, mean = number["metric"], number["mean"]
    spread = number["std"] if number["seeds"] > 1 else number["standard_error"]
    show = _radius if metric == metrics.ACR else _percent
    ranked = metric in (metrics.ACR, metrics.CERTIFIED) and rows > 1 and mean > 0
    return _cell(show, mean, spread, best=ranked and mean >= best)


def _cell(
    show: Callable[[float], str], value: float, spread: float = math.nan, best: bool = False
) -> Cell:
    """Return a number with its spread, or a dash for what the mode leaves unknown."""
    if math.isnan(value):
        return Cell("–")
    return Cell(show(value), "" if math.isnan(spread) else show(spread), best)


def _probability(value: float) -> str:
    return f"{value:.5f}"


def _radius(value: float) -> str:
    return f"{value:.4f}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _heading(metric: str, radius: float) -> str:
    words = {metrics.ACR: "ACR", metrics.ABSTENTION: "Abstained", metrics.AT_CAP: "At cap"}
    return words.get(metric) or (f"r = {radius:g}" if radius == 0 else f"{radius:.2f}")


def _protocol_note(content: Experiment) -> str:
    protocol = content.protocol
    mode = "" if protocol.mode == "fixed" else f", mode {protocol.mode}"
    return (
        f"Protocol: subset {protocol.subset} ({content.images:,} images), n₀ = {protocol.n0:,}, "
        f"n = {protocol.n:,}, α = {protocol.alpha:g}{mode}."
    )


def _spread_note(data: pd.DataFrame, content: Experiment) -> str:
    several = "the sample standard deviation over seeds"
    single = f"the standard error over the {content.images:,} images"
    if data["seeds"].min() > 1:
        return f"± is {several}."
    if data["seeds"].max() == 1:
        return f"One seed: ± is {single}."
    return f"± is {several}, and for one seed {single}."


def _best_note(content: Experiment, scope: str) -> list[str]:
    return [f"Bold: the highest mean {scope}."] if len(content.rows) > 1 else []
