"""The page's charts as Vega-Lite specifications, made with Altair.

They hold no data: the page's script embeds each one for every sigma and fills its data sets.
Colours come with the data or are the text's own, so that one specification serves a light and a
dark page. In the data, a row of the experiment is known by its title.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import vl_convert

from smoothcert.report import series

BEST_COLOUR, WORST_COLOURS = "#1f5fa8", ("#9a9a9a", "#d55e00")
BETWEEN_COLOURS = ("#4292c6", "#6baed6", "#9ecae1", "#c6dbef")
"""Of outcomes, from the best to the worst: blues for the certified, which stand out on any page."""


def coloured(outcomes: Sequence[str]) -> list[dict[str, str]]:
    """Return the outcomes of ``series.outcome_names`` with a colour each."""
    worst = 1 if series.NOT_CERTIFIED in outcomes else 2
    between = BETWEEN_COLOURS[: len(outcomes) - 1 - worst]
    colours = [BEST_COLOUR, *between, *WORST_COLOURS[:worst]]
    return [{"name": n, "colour": c} for n, c in zip(outcomes, colours, strict=True)]


def specifications() -> dict[str, dict[str, Any]]:
    """Return the Vega-Lite specification of each chart."""
    charts = {"curves": _curves(), "outcomes": _outcomes(), "pairs": _pairs()}
    return {name: _specification(chart) for name, chart in charts.items()}


def libraries() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, which can stand in a page."""
    # What would end or hide a script in HTML; \x3c is the same sign in strings and patterns.
    return re.sub(
        r"<(?=/script|!--)", r"\\x3c", vl_convert.javascript_bundle(), flags=re.IGNORECASE
    )


def _curves() -> alt.LayerChart:
    """Certified accuracy by radius.

    Data set ``curves``: a record a row with ``title``, ``colour``, ``dash`` and, by radius, the
    arrays ``radius``, ``mean``, ``low`` and ``high``. Data set ``published``: a record a point
    with ``row`` (null if it was not run), ``title``, ``colour``, ``source``, ``radius``, ``mean``,
    ``std`` and ``seeds``. The parameter ``shown`` lists the titles to show, ``at`` is the radius
    that is read, ``cap`` the largest one.
    """
    radius = alt.X("radius:Q", title="Certified radius r").scale(
        domainMax=alt.ExprRef("cap"), nice=False
    )
    share = alt.Y("mean:Q", title="Certified accuracy").scale(domain=[0, 1]).axis(format=".0%")
    curve = (
        alt.Chart(alt.NamedData("curves"))
        .transform_filter("indexof(shown, datum.title) >= 0")
        .transform_flatten(["radius", "mean", "low", "high"])
        .encode(radius, alt.Color("colour:N").scale(None), alt.Detail("title:N"))
    )
    line = curve.mark_line(strokeWidth=1.8).encode(share, alt.StrokeDash("dash:N").scale(None))
    band = curve.mark_area(opacity=0.18).encode(
        alt.Y("low:Q", title="Certified accuracy"), alt.Y2("high:Q")
    )
    read = curve.transform_filter("abs(datum.radius - at) < 1e-9 && datum.mean > 0")
    point = read.mark_point(filled=True, size=45, opacity=1).encode(share)
    ring = (
        alt.Chart(alt.NamedData("published"))
        .transform_filter("datum.row === null || indexof(shown, datum.title) >= 0")
        .mark_point(size=55, strokeWidth=1.6, opacity=1)
        .encode(
            radius,
            share,
            alt.Color("colour:N").scale(None),
            tooltip=[
                alt.Tooltip("title:N", title="Method"),
                alt.Tooltip("source:N", title="Published"),
                alt.Tooltip("radius:Q", title="r"),
                alt.Tooltip("mean:Q", title="Certified", format=".2%"),
                alt.Tooltip("std:Q", title="±", format=".2%"),
                alt.Tooltip("seeds:Q", title="Seeds"),
            ],
        )
    )
    rules = alt.Chart(alt.sequence(0, 1)).mark_rule(color="currentColor")
    limit = rules.transform_calculate(radius="cap").encode(
        radius, strokeDash=alt.value([2, 3]), opacity=alt.value(0.7)
    )
    reading = rules.transform_calculate(radius="at").encode(radius, opacity=alt.value(0.45))
    return (
        alt.layer(limit, reading, band, line, point, ring)
        .add_params(
            alt.param("shown", value=[]), alt.param("at", value=0), alt.param("cap", value=1)
        )
        .properties(
            description="Certified accuracy against the radius; the table below has the values",
            width="container",
            height=260,
        )
    )


def _outcomes() -> alt.Chart:
    """What became of the images: a bar a row.

    Data set ``outcomes``: a record for each row and outcome with ``title``, ``outcome``,
    ``place`` (of the outcome in the bar), ``colour``, ``share``, ``spread`` and ``seeds``. The
    script sets the height, which is that of the rows to show, and the width of their titles.
    """
    return (
        alt.Chart(alt.NamedData("outcomes"))
        .transform_filter("indexof(shown, datum.title) >= 0")
        .mark_bar()
        .encode(
            alt.X("share:Q", title="Share of the test images")
            .scale(domain=[0, 1], nice=False)
            .axis(format=".0%"),
            alt.Y("title:N", title=None).sort(None).axis(ticks=False, domain=False, grid=False),
            alt.Color("colour:N").scale(None),
            alt.Order("place:Q"),
            tooltip=[
                alt.Tooltip("title:N", title="Method"),
                alt.Tooltip("outcome:N", title="Outcome"),
                alt.Tooltip("share:Q", title="Share", format=".2%"),
                alt.Tooltip("spread:Q", title="±", format=".2%"),
                alt.Tooltip("seeds:Q", title="Seeds"),
            ],
        )
        .add_params(alt.param("shown", value=[]))
        .properties(
            description="What became of the images; the tables give abstentions and images at cap",
            width="container",
        )
    )


def _pairs() -> alt.LayerChart:
    """Radii of two rows, image by image, counted in squares.

    Data set ``pairs``: a record a square with its edges ``x``, ``x2``, ``y``, ``y2``, the
    number of its ``images``, and ``across`` and ``up``, its edges in words.
    """
    scale = {"domainMax": alt.ExprRef("cap"), "nice": False}
    first = {"title": "Radius with the first method"}
    second = {"title": "Radius with the second method"}
    square = (
        alt.Chart(alt.NamedData("pairs"))
        .mark_rect(color="#3a8fd0")
        .encode(
            alt.X("x:Q", **second).scale(**scale),
            alt.X2("x2:Q"),
            alt.Y("y:Q", **first).scale(**scale),
            alt.Y2("y2:Q"),
            alt.Opacity("images:Q").scale(type="log", range=[0.2, 1], nice=False).legend(None),
            tooltip=[
                alt.Tooltip("up:N", **first),
                alt.Tooltip("across:N", **second),
                alt.Tooltip("images:Q", title="Images", format=","),
            ],
        )
    )
    same = (
        alt.Chart(alt.sequence(0, 2))
        .transform_calculate(x="datum.data * cap")
        .mark_line(color="currentColor", strokeDash=[2, 3], strokeWidth=1)
        .encode(alt.X("x:Q", **second), alt.Y("x:Q", **first))
    )
    return (
        alt.layer(square, same)
        .add_params(alt.param("cap", value=1))
        .properties(
            description="Radii of the images with both methods; the tables list the extremes",
            width="container",
            height=360,
        )
    )


def _specification(chart: alt.Chart | alt.LayerChart) -> dict[str, Any]:
    ink = "currentColor"
    axis = {
        **dict.fromkeys(("labelColor", "titleColor", "tickColor", "domainColor", "gridColor"), ink),
        "domainOpacity": 0.5,
        "tickOpacity": 0.5,
        "gridOpacity": 0.12,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titleLimit": 300,
        "labelFlush": False,
        "labelOverlap": True,
        "aria": False,
    }
    chart = chart.configure(
        font="system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
        background="transparent",
        padding=4,
    )
    # The chart's description speaks for its marks, of which there may be a thousand.
    chart = chart.configure_axis(**axis).configure_view(stroke=None).configure_mark(aria=False)
    specification = chart.to_dict()
    del specification["$schema"]  # an address
    return specification
