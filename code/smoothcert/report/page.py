"""Assembles the report: one HTML file without scripts or outside addresses."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from smoothcert import __version__, datasets, files, records
from smoothcert.analysis import experiment
from smoothcert.analysis import figures as drawn
from smoothcert.analysis.experiment import TRAINING_LOG, Experiment, Run
from smoothcert.analysis.figures import FIGURE_FORMATS, FIGURES
from smoothcert.analysis.figures.style import INK, PAPER
from smoothcert.analysis.render import TABLE_FORMATS, read_fragment
from smoothcert.analysis.summary import SUMMARY
from smoothcert.analysis.tables import TABLES
from smoothcert.errors import UserError
from smoothcert.smoothing.bounds import largest_radius, lower_bound

_FOLDER = Path(__file__).parent
"""Of the page's template and style."""

ORIGIN = {
    "smoothcert": "smoothcert",
    "commit": "Git commit",
    "code": "Code fingerprint",
    "data": "Data checksum (SHA-256)",
    "device": "Device",
    "python": "Python",
    "torch": "PyTorch",
}
"""How the page calls the entries of a provenance record; others stand under their own name."""


def write_report(manifest: Path, tables: Path, figures: Path, output: Path) -> None:
    """Write the report of ``manifest`` to ``output``, from the tables and figures drawn for it.

    Links to the files behind the numbers are relative to ``output``. Raises UserError if a table,
    a figure or a run's description is missing or not ours.
    """
    content = experiment.load(manifest)
    link = _linker(output.parent)
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(listing=_listing, link=link)
    page = environment.get_template("report.html").render(
        content=content,
        data=datasets.describe(content.dataset),
        labels=list(dict.fromkeys(run.row.label for run in content.runs)),
        tables={
            name: Markup(read_fragment(tables / f"{name}.html"))  # noqa: S704
            for name in TABLES
        },
        figures={
            name: Markup(_inline(figures / f"{name}.svg", name))  # noqa: S704
            for name in drawn.names(content.manifest)
        },
        titles={name: kind.title for name, kind in FIGURES.items()},
        largest_p=float(
            lower_bound(content.protocol.n, content.protocol.n, content.protocol.alpha)
        ),
        caps=_caps(content, tables / "runs.csv"),
        origin=_origin(content),
        outputs=_outputs(content, manifest, tables, figures),
        run_files=[(run, _files(run)) for run in content.runs],
        configuration=yaml.safe_dump(content.configuration, sort_keys=False, allow_unicode=True),
        version=__version__,
        style=Markup((_FOLDER / "style.css").read_text(encoding="utf-8")),  # noqa: S704
    )
    files.write_text(output, page)


def _inline(path: Path, name: str) -> str:
    """Return a drawn SVG to stand in the page: in its colours and with ids of its own."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}; draw the figures first") from error
    if "<svg" not in text:
        raise UserError(f"{path} is not an SVG; draw the figures anew")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("<svg", '<svg aria-hidden="true"', 1)
    return text.replace(INK, "currentColor").replace(PAPER, "none")


def _caps(content: Experiment, runs: Path) -> list[dict[str, Any]]:
    """Return for each sigma the largest radius, and how the runs stand to it."""
    try:
        table = pd.read_csv(runs)
        groups = {sigma: table[table["sigma"] == sigma] for sigma in content.sigmas}
        return [
            {
                "sigma": sigma,
                "radius": largest_radius(content.protocol.n, content.protocol.alpha, sigma),
                "at_cap": _range(group["at_cap"], "{:.1%}"),
                "median": _range(group["p_lower_q50"], "{:.5f}"),
                "runs": len(group),
            }
            for sigma, group in groups.items()
        ]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{runs} cannot be read; write the tables first") from error


def _range(values: pd.Series, form: str) -> str:
    low, high = form.format(values.min()), form.format(values.max())
    return low if low == high else f"{low} – {high}"


def _origin(content: Experiment) -> list[tuple[str, list[str], list[str]]]:
    """Return the provenance of all runs: name, values in training, values in certification."""
    descriptions = [run.description for run in content.runs]
    trainings = [description["model"]["provenance"] for description in descriptions]
    certifications = [description["provenance"] for description in descriptions]
    keys = dict.fromkeys([*ORIGIN, *(key for record in trainings for key in record)])
    return [
        (ORIGIN.get(key, key), _distinct(trainings, key), _distinct(certifications, key))
        for key in keys
    ]


def _distinct(provenances: list[dict[str, Any]], key: str) -> list[str]:
    """Return the values of a key, with the number of runs where there are several."""
    counts = Counter(str(record.get(key, "not recorded")) for record in provenances)
    if len(counts) == 1:
        return list(counts)
    return [f"{value} ({count} runs)" for value, count in counts.most_common()]


def _outputs(
    content: Experiment, manifest: Path, tables: Path, figures: Path
) -> list[tuple[str, list[Path]]]:
    """Return what the files of the report are and where they lie."""
    captions = {
        "acr": "Average certified radius",
        "certified_accuracy": "Certified accuracy",
        "runs": "Every run",
    }
    return [
        *(
            (f"Table: {captions[name]}", [tables / f"{name}.{f}" for f in TABLE_FORMATS])
            for name in TABLES
        ),
        *(
            (f"Figure: {FIGURES[name].title}", [figures / f"{name}.{f}" for f in FIGURE_FORMATS])
            for name in drawn.names(content.manifest)
        ),
        ("The experiment and its runs", [manifest]),
    ]


def _files(run: Run) -> list[Path]:
    certificates = (records.TABLE, records.DESCRIPTION, SUMMARY)
    return [*(run.certificates / name for name in certificates), run.folder / TRAINING_LOG]


def _linker(folder: Path) -> Callable[[Path], str]:
    """Return a filter that gives a path's address as seen from ``folder``."""
    return lambda path: quote(Path(os.path.relpath(path, folder)).as_posix())


def _listing(items: Iterable[Any], form: str = "{}") -> str:
    """Return ``a, b and c``."""
    words = [form.format(item) for item in items]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
