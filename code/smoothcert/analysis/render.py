"""A table in four formats: CSV for machines, Markdown, LaTeX (booktabs) and HTML for people."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

from smoothcert import files
from smoothcert.analysis.cells import Cell, Column, Table
from smoothcert.analysis.latex import latex
from smoothcert.errors import UserError


def write(name: str, title: str, table: Table, folder: Path) -> None:
    """Write ``<name>.csv``, ``.md``, ``.tex`` and ``.html`` into ``folder``."""
    for suffix, content in TABLE_FORMATS.items():
        files.write_text(folder / f"{name}.{suffix}", content(name, title, table))


def read_fragment(page: Path) -> str:
    """Return the ``<figure>`` of a page that ``write`` wrote, to stand in another page.

    Raises UserError if the page is missing or another one.
    """
    try:
        text = files.read_bytes(page).decode(errors="replace")
    except FileNotFoundError as error:
        raise UserError(f"{page} does not exist; write the tables first") from error
    start, end = text.find("<figure"), text.rfind("</figure>")
    if start < 0 or end < 0:
        raise UserError(f"{page} is not a table of this program; write the tables anew")
    return text[start:end] + "</figure>"


def _csv(name: str, title: str, table: Table) -> str:
    return table.data.to_csv(index=False, lineterminator="\n")


# Markdown

_MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{c: f"\\{c}" for c in "\\|*_`[]~#$"}}
)


def _markdown(name: str, title: str, table: Table) -> str:
    lines = [f"## {_md(title)}", "", _md(" ".join(table.notes))]
    for block in table.blocks:
        if block.heading:
            lines += ["", f"### {_md(block.heading)}"]
        rule = [":---" if column.words else "---:" for column in block.columns]
        head = [_md(column.heading) for column in block.columns]
        body = [[_markdown_cell(cell) for cell in row] for row in block.rows]
        lines += ["", *(f"| {' | '.join(row)} |" for row in (head, rule, *body))]
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = _md(cell.text)
    text = f"**{text}**" if cell.best else text
    return f"{text} ± {cell.spread}" if cell.spread else text


def _md(text: str) -> str:
    return text.translate(_MARKDOWN)


# HTML

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }}
figure {{ margin: 1rem }}
figcaption p {{ margin: .3rem 0; max-width: 48rem }}
.scroll {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0 }}
caption {{ text-align: left; font-weight: 600; padding-bottom: .3rem }}
th, td {{ padding: .25rem .7rem; text-align: right; white-space: nowrap }}
th {{ border-bottom: 1px solid }}
.words {{ text-align: left }}
</style>
{figure}
</html>
"""


def _html(name: str, title: str, table: Table) -> str:
    return _PAGE.format(title=escape(title), figure=_figure(name, title, table))


def _figure(name: str, title: str, table: Table) -> str:
    lines = [
        f'<figure class="table" id="table-{name}">',
        f"<figcaption><h3>{escape(title)}</h3><p>{_words(' '.join(table.notes))}</p></figcaption>",
    ]
    for block in table.blocks:
        label = escape(f"{title} {block.heading}".strip())
        # A region that scrolls must take the keyboard's focus.
        lines += [
            f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">',
            "<table>",
        ]
        if block.heading:
            lines.append(f"<caption>{_words(block.heading)}</caption>")
        head = (
            f'<th scope="col"{_class(column)}>{_words(column.heading)}</th>'
            for column in block.columns
        )
        lines.append(f"<thead><tr>{''.join(head)}</tr></thead>")
        lines.append("<tbody>")
        for row in block.rows:
            cells = zip(block.columns, row, strict=True)
            lines.append(f"<tr>{''.join(_html_cell(*cell) for cell in cells)}</tr>")
        lines += ["</tbody>", "</table>", "</div>"]
    return "\n".join([*lines, "</figure>"])


def _html_cell(column: Column, cell: Cell) -> str:
    text = _words(cell.text)
    text = f"<strong>{text}</strong>" if cell.best else text
    if cell.spread:
        text += f' <span class="spread">± {escape(cell.spread)}</span>'
    return f"<td{_class(column)}>{text}</td>"


def _words(text: str) -> str:
    """Return escaped text whose equations stay in one line."""
    return escape(text).replace(" = ", "\u00a0=\u00a0")


def _class(column: Column) -> str:
    return ' class="words"' if column.words else ""


TABLE_FORMATS: dict[str, Callable[[str, str, Table], str]] = {
    "csv": _csv,
    "md": _markdown,
    "tex": latex,
    "html": _html,
}
"""The formats by their suffix; each is made of a table's name, title and content."""
