"""A table in LaTeX, laid out for a page: rows and columns that it cannot hold go on in another."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, count
from math import ceil

from smoothcert.analysis.cells import Block, Cell, Table


def _greek(letter: str) -> str:
    name = unicodedata.name(letter).split()[-1].replace("LAMDA", "LAMBDA")
    return rf"$\{name.lower() if letter.islower() else name.capitalize()}$"


_LATEX = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
        # After a line's end, these would be taken for its options.
        "[": "{[}", "*": "{*}",
        "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "–": "--", "−": "$-$",
        "×": r"$\times$", "·": r"$\cdot$", "→": r"$\to$", "ℓ": r"$\ell$",
        "†": r"$^\dagger$", "≈": r"$\approx$", "∞": r"$\infty$", "≠": r"$\neq$", "…": r"\ldots{}",
        **{digit: f"$_{i}$" for i, digit in enumerate("₀₁₂₃₄₅₆₇₈₉")},
        **{digit: f"$^{i}$" for i, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
        **{letter: _greek(letter) for letter in "αβγδεζηθκλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ"},
        "ε": r"$\varepsilon$",
    }
)  # fmt: skip


_LINES = 40
"""A page of LaTeX's article holds so many rows."""
_LETTERS = 100
"""A line of it holds so many letters."""
_SENTENCE = 30
"""Words of more letters may break into lines, none shorter than this."""
_GAP = 2
"""Letters that fit between two columns."""


def latex(name: str, title: str, table: Table) -> str:
    """Return a table as floats of booktabs, no wider and no longer than a page of an article."""
    words = f"{title}. {' '.join(table.notes)}"
    lines = [r"% \usepackage[T1]{fontenc}, \usepackage{array,booktabs,graphicx}"]
    head = [rf"\caption{{{_tex(words)}}}", rf"\label{{tab:{name}}}"]
    narrow = [part for block in table.blocks for part in _parts(block)]
    # Across both columns of a page that has two, unless one of them suffices.
    wide = any(_width(block) > _LETTERS / 2 for block in narrow)
    environment = "table*" if wide else "table"
    for blocks in _pages(narrow, taken=2 + len(words) // 70):
        lines += [rf"\begin{{{environment}}}", r"\centering", *head]
        for block in blocks:
            lines += _latex_block(block)
        lines.append(rf"\end{{{environment}}}")
        # What one page does not hold goes on under the same number.
        head = [r"\addtocounter{table}{-1}", rf"\caption{{{_tex(title)}, continued}}"]
    return "\n".join(lines) + "\n"


def _parts(block: Block) -> list[Block]:
    """Return a block of many numbers as blocks that fit a line, each with the first column."""
    first, *others = block.columns
    if any(column.words for column in others):
        return [block]
    widths = [width + _GAP for width in _widths(block)]
    room = _LETTERS + _GAP - widths[0]
    fewest = len(_cut(widths, room))
    # As even as so many parts can be.
    parts = next(cut for room in count(1) if len(cut := _cut(widths, room)) == fewest)
    return [
        replace(
            block,
            columns=[first, *(block.columns[i] for i in part)],
            rows=[[row[0], *(row[i] for i in part)] for row in block.rows],
        )
        for part in parts
    ]


def _cut(widths: Sequence[int], room: int) -> list[list[int]]:
    """Return the columns after the first in parts of at most ``room`` letters, or of one column."""
    parts: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        if parts[-1] and sum(widths[i] for i in (*parts[-1], column)) > room:
            parts.append([])
        parts[-1].append(column)
    return parts


def _natural(block: Block) -> list[int]:
    """Return the letters of each column's longest cell or heading."""
    headings = [Cell(column.heading) for column in block.columns]
    return [
        max(len(_plain(cell)) for cell in column)
        for column in zip(headings, *block.rows, strict=True)
    ]


def _widths(block: Block) -> list[int]:
    """Return the letters of a line of each column: sentences share the room that others leave."""
    widths = _natural(block)
    long = [i for i, of in enumerate(block.columns) if of.words and widths[i] > _SENTENCE]
    if long:
        others = sum(width for i, width in enumerate(widths) if i not in long)
        room = _LETTERS - others - _GAP * (len(widths) - 1)
        for i in long:
            words = " ".join(row[i].text for row in block.rows).split()
            longest = max(map(len, words), default=0)  # as a path, which does not break
            widths[i] = min(widths[i], max(room // len(long), _SENTENCE, longest))
    return widths


def _width(block: Block) -> int:
    """Return how many letters a line of the block has."""
    return sum(width + _GAP for width in _widths(block)) - _GAP


def _plain(cell: Cell) -> str:
    return f"{cell.text} ± {cell.spread}" if cell.spread else cell.text


def _pages(blocks: Sequence[Block], taken: int) -> list[list[Block]]:
    """Return the blocks page by page, the long ones cut; ``taken`` lines of the first are used."""
    pages: list[list[Block]] = [[]]
    for block in blocks:
        widths, rows = _widths(block), list(block.rows)
        heights = [_height(row, widths) for row in rows]
        while True:
            room = _LINES - taken - 4  # for heading and rules
            fitting = bisect_right(list(accumulate(heights)), room)
            # A page of its own must take at least a row.
            if fitting < len(rows) and (pages[-1] or room < 1):
                pages.append([])
                taken = 2
                continue
            fitting = max(fitting, 1)
            pages[-1].append(replace(block, rows=rows[:fitting]))
            taken += 4 + sum(heights[:fitting])
            rows, heights = rows[fitting:], heights[fitting:]
            if not rows:
                break
    return pages


def _height(row: Sequence[Cell], widths: Sequence[int]) -> int:
    """Return how many lines a row takes where its sentences break."""
    # Lines end at words, hence shorter.
    return max(
        ceil(1.2 * len(_plain(cell)) / width) if len(_plain(cell)) > width else 1
        for cell, width in zip(row, widths, strict=True)
    )


def _latex_block(block: Block) -> list[str]:
    layout = "".join(
        # Half an em is about a letter.
        rf">{{\raggedright\arraybackslash}}p{{{width / 2:g}em}}"
        if width < natural
        else ("l" if column.words else "r")
        for column, width, natural in zip(
            block.columns, _widths(block), _natural(block), strict=True
        )
    )
    rows = [[_latex_cell(cell) for cell in row] for row in block.rows]
    return [
        *(["", rf"\medskip {_tex(block.heading)}\par\smallskip"] if block.heading else []),
        # As wide as it is, but no wider than the page.
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        " & ".join(_tex(column.heading) for column in block.columns) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}}",
    ]


def _latex_cell(cell: Cell) -> str:
    text = _tex(cell.text)
    text = rf"\textbf{{{text}}}" if cell.best else text
    return rf"{text} $\pm$ {cell.spread}" if cell.spread else text


def _tex(text: str) -> str:
    return text.translate(_LATEX)
