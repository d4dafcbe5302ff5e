"""The report in a browser: it asks for nothing but itself and fits a telephone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from synthetic import write_experiment

from smoothcert.analysis.figures import draw_figures
from smoothcert.analysis.tables import write_tables
from smoothcert.report.page import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    methods = [
        {"method": "gaussian", "label": "<script>alert(1)</script>"},
        {"method": "consistency", "lambda": [1, 5]},
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        manifest = write_experiment(folder, methods=methods, sigmas=[0.25, 0.5, 1.0])
        write_tables(manifest, Path("tables"))
        draw_figures(manifest, Path("figures"))
        write_report(manifest, Path("tables"), Path("figures"), Path("index.html"))
    return folder / "index.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_opens_without_errors_and_fits(browser, report, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(report.as_uri())
    page.wait_for_load_state("networkidle")
    assert requests == [report.as_uri()]
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_role("cell", name="<script>alert(1)</script>").first.is_visible()
    background, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (brightness(background) > brightness(ink)) == (scheme == "light")
    context.close()


def test_wide_tables_scroll_by_keyboard(browser, report):
    # The page's own policy forbids the eval by which the driver waits.
    page = browser.new_page(viewport={"width": 390, "height": 800}, bypass_csp=True)
    page.goto(report.as_uri())
    region = page.get_by_role("region", name="Every run")
    region.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0", timeout=5000)
    page.close()


def brightness(colour: str) -> int:
    """Return the sum of the channels of ``rgb(r, g, b)``."""
    return sum(int(part) for part in colour.strip("rgb()").split(","))
