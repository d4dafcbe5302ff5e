"""Every run: its metrics, the bounds on p_A behind them, its cost and where its files lie."""

from __future__ import annotations

from smoothcert.analysis.cells import Block, Cell, Column, Table
from smoothcert.analysis.measurement import Results
from smoothcert.analysis.tables import base

METRICS = {
    "acr": ("ACR", base.radius),
    "clean_accuracy": ("Clean %", base.percent),
    "abstention": ("Abstained %", base.percent),
    "at_cap": ("At cap %", base.percent),
}
BOUNDS = {"p_lower_q05": "p_A bound, 5%", "p_lower_q50": "p_A bound, median"}


def table(results: Results) -> Table:
    """Return the table, a line a run, in the order of the manifest."""
    experiment = results.experiment
    rows = [
        [
            base.method(results, run.row, name=run.row.label),
            Cell(f"{number['lambda']:g}" if run.point.parameters.regularized else "–"),
            Cell(f"{number['sigma']:.2f}"),
            Cell(str(number["seed"])),
            *(
                base.number(show, number[name], number[f"{name}_standard_error"])
                for name, (_, show) in METRICS.items()
            ),
            *(base.number("{:.5f}".format, number[name]) for name in BOUNDS),
            base.number("{:,.1f}".format, number["train_seconds"]),
            Cell(f"{number['seconds_per_image']:.3g}"),
            Cell(number["folder"]),
        ]
        for run, number in zip(experiment.runs, results.runs.to_dict("records"), strict=True)
    ]
    headings = [*(heading for heading, _ in METRICS.values()), *BOUNDS.values()]
    columns = [
        Column("Method", words=True),
        *(Column(heading) for heading in ("λ", "σ", "Seed", *headings)),
        *(Column(heading) for heading in ("Training, s", "Certification, s/image")),
        Column("Certificates", words=True),
    ]
    return Table(
        [
            f"± is the standard error over the {experiment.images:,} images. The p_A bound is the "
            "lower confidence bound on the probability of the top class under noise: its 5% "
            "quantile and its median over all images.",
            *base.rounding_note(results),
        ],
        [Block("", columns, rows)],
        results.runs,
    )
