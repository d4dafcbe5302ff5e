"""What training and certification cost, by method and device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from smoothcert.analysis.cells import Block, Cell, Column, Table
from smoothcert.analysis.experiment import Row
from smoothcert.analysis.measurement import Results
from smoothcert.analysis.tables import base

STAGES = {"training": "epoch", "certification": "image"}
"""The stages, and what each of them takes its seconds for."""


def table(results: Results) -> Table:
    """Return the table: a block a stage, a line for each row of the experiment and device."""
    # Published logs say nothing of their training.
    stages = {stage: lines for stage in STAGES if (lines := list(_lines(results, stage)))}
    return Table(
        [
            "Time on one device, as the training logs and the certificates tell it, without "
            "starting up and reading data. It is elapsed time: jobs that shared a device took "
            "longer, and nothing here tells which did. ± is the sample standard deviation over the "
            "runs, of all noise levels and seeds. Peak memory is the largest of any of their jobs' "
            "last tries, without the GPU's own, as Snakemake's benchmark files tell it; a dash "
            "where there is none.",
        ],
        [_block(results, stage, lines) for stage, lines in stages.items()],
        pd.DataFrame(
            {"stage": stage, "per": STAGES[stage], **line, **results.protocol}
            for stage, lines in stages.items()
            for _, line in lines
        ),
    )


def _lines(results: Results, stage: str) -> Iterator[tuple[Row, dict[str, Any]]]:
    runs = results.runs.assign(row=[run.row for run in results.experiment.runs])
    if stage == "training":
        device, memory = "train_device", "train_memory"
        seconds, count = runs["train_seconds"], runs["epochs"]
    else:
        device, memory = "device", "certify_memory"
        seconds, count = runs["seconds_per_image"] * runs["images"], runs["images"]
    runs = runs.assign(hours=seconds / 3600, each=seconds / count)
    for (row, name), group in runs.groupby(["row", device], sort=False):
        yield (
            row,
            {
                "label": row.label,
                "lambda": row.weight,
                "device": name,
                "runs": len(group),
                "seconds": group["each"].mean(),
                "seconds_std": group["each"].std(),
                "hours_per_run": group["hours"].mean(),
                "hours_per_run_std": group["hours"].std(),
                "hours": group["hours"].sum(),
                "peak_memory": group[memory].max(),
            },
        )


def _block(results: Results, stage: str, lines: list[tuple[Row, dict[str, Any]]]) -> Block:
    return Block(
        stage.capitalize(),
        [
            Column("Method", words=True),
            Column("Runs"),
            Column(f"Seconds an {STAGES[stage]}"),
            Column("Hours a run"),
            Column("Hours in all"),
            Column("Peak memory, MB"),
            Column("Device", words=True),
        ],
        [
            [
                base.method(results, row),
                Cell(str(line["runs"])),
                *(
                    base.number(
                        _three_digits(line[name]), line[name], line.get(f"{name}_std", math.nan)
                    )
                    for name in ("seconds", "hours_per_run", "hours")
                ),
                base.number("{:,.0f}".format, line["peak_memory"]),
                Cell(line["device"]),
            ]
            for row, line in lines
        ],
    )


def _three_digits(largest: float) -> Callable[[float], str]:
    """Return a format with three significant digits for numbers up to ``largest``."""
    decimals = max(2 - math.floor(math.log10(largest)), 0) if largest > 0 else 0
    return f"{{:,.{decimals}f}}".format
