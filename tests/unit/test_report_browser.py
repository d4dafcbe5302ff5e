"""The report in a browser: its controls work, it asks for nothing, it fits a telephone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from synthetic import PUBLISHED, write_experiment

from smoothcert.analysis import experiment, metrics
from smoothcert.analysis.draw_figures import draw_figures
from smoothcert.analysis.write_tables import write_tables
from smoothcert.report.page import write_report
from smoothcert.smoothing.bounds import largest_radius

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
expect.set_options(timeout=30_000)  # ms, as for actions: a busy machine draws slowly

HOSTILE = "<script>alert(1)</script>"


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
def folder(tmp_path_factory) -> Path:
    """Return the working directory of a report with a hostile label, a swept lambda and a guess."""
    folder = tmp_path_factory.mktemp("browser")
    methods = [
        {"method": "gaussian", "label": HOSTILE},
        {"method": "consistency", "lambda": [1, 5], "unpublished": ["m"]},
    ]
    build(folder, methods=methods, sigmas=[0.25, 0.5, 1.0])
    return folder


def build(folder: Path, **changes) -> None:
    """Write a report into ``folder``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        manifest = write_experiment(folder, **changes)
        write_tables(manifest, Path("tables"))
        draw_figures(manifest, Path("figures"))
        write_report(manifest, Path("tables"), Path("figures"), Path("index.html"))


@pytest.fixture
def opened(browser, folder):
    """Return a function that opens the report, and check at the end that it stayed quiet."""
    contexts, requests, complaints = [], [], []
    address = (folder / "index.html").as_uri()

    def open_page(width=1280, charts=True, **options):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, reduced_motion="reduce", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(address)
        if charts:
            expect(page.locator(".chart svg.marks")).to_have_count(7)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert {url for url in requests if not url.startswith("data:")} == {address}
    assert complaints == []


def cells(page, table: str, column: str) -> list[str]:
    """Return the texts of a column of the table in the region ``table``, of the rows in sight."""
    found = page.get_by_role("region", name=table).evaluate(
        """(region, column) => {
            const heads = [...region.querySelectorAll("thead th")].map((th) => th.innerText.trim());
            return [...region.querySelectorAll("tbody tr:not([hidden])")]
                .map((row) => row.cells[heads.indexOf(column)].innerText);
        }""",
        column,
    )
    return [text.replace("\xa0", " ") for text in found]


def box(page, name: str):
    return page.get_by_role("checkbox", name=name, exact=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_opens_without_errors_and_fits(opened, width, scheme):
    page = opened(width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_role("cell", name=HOSTILE).first.is_visible()
    assert is_light(page) == (scheme == "light")
    for chart in page.locator(".chart").all():
        assert chart.locator("> [role=graphics-document]").get_attribute("aria-label")
        drawn, place = chart.locator("svg.marks").bounding_box(), chart.bounding_box()
        assert place["width"] * 0.9 < drawn["width"] <= place["width"] + 1


def test_theme_can_be_changed(opened):
    page = opened(color_scheme="light")
    page.get_by_role("button", name="Dark", exact=True).click()
    assert not is_light(page)
    page.get_by_role("button", name="Light", exact=True).click()
    assert is_light(page)


class TestTables:
    def test_sort_by_number_and_back(self, opened):
        page = opened()
        heading = page.get_by_role("region", name="Every run").get_by_role(
            "columnheader", name="ACR"
        )
        own = cells(page, "Every run", "ACR")
        numbers = [float(text.split()[0]) for text in own]
        assert numbers != sorted(numbers)
        for order in ("descending", "ascending"):
            heading.get_by_role("button").click()
            assert heading.get_attribute("aria-sort") == order
            found = [float(text.split()[0]) for text in cells(page, "Every run", "ACR")]
            assert found == sorted(numbers, reverse=order == "descending")
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") is None
        assert cells(page, "Every run", "ACR") == own

    def test_sort_by_words_and_what_is_no_number_last(self, opened):
        page = opened()
        region = page.get_by_role("region", name="Every run")
        region.get_by_role("button", name="Method").click()
        assert cells(page, "Every run", "Method") == [HOSTILE] * 9 + ["Consistency †"] * 18
        for _ in range(2):
            region.get_by_role("button", name="λ").click()
            assert cells(page, "Every run", "λ")[-9:] == ["–"] * 9

    def test_filter_by_method(self, opened):
        page = opened()
        box(page, "Consistency, λ = 1").uncheck()
        assert cells(page, "Average certified radius (ACR)", "Method") == [
            HOSTILE,
            "Consistency, λ = 5 †",
        ]
        assert cells(page, "Every run", "λ") == ["–"] * 9 + ["5"] * 9
        box(page, HOSTILE).uncheck()
        assert set(cells(page, "Every run", "Method")) == {"Consistency †"}
        page.get_by_role("button", name="Show all").click()
        assert len(cells(page, "Every run", "Method")) == 27
        expect(page.get_by_role("button", name="Show all")).to_be_hidden()
        page.get_by_role("button", name="Hide methods").click()
        assert cells(page, "Every run", "Method") == []
        box(page, HOSTILE).check()
        assert set(cells(page, "Every run", "Method")) == {HOSTILE}

    def test_headings_are_not_hidden_by_the_filter(self, opened):
        page = opened()
        page.get_by_role("link", name="Distributions").click()
        heading = page.get_by_role("heading", name="Distributions").bounding_box()
        bar = page.locator("#filter").bounding_box()
        assert bar["y"] + bar["height"] <= heading["y"] < 400

    def test_filter_by_sigma(self, opened):
        page = opened()
        box(page, "0.50").uncheck()
        assert set(cells(page, "Every run", "σ")) == {"0.25", "1.00"}
        acr = page.get_by_role("region", name="Average certified radius (ACR)")
        heads = [head.inner_text() for head in acr.get_by_role("columnheader").all()]
        assert [head.replace("\xa0", " ") for head in heads] == [
            "Method", "σ = 0.25", "σ = 1.00", "Seeds"
        ]  # fmt: skip
        blocks = page.get_by_role("region", name=re.compile("^Certified accuracy σ"))
        assert [block.is_visible() for block in blocks.all()] == [True, True]
        for kind in ("curve", "outcome"):
            titles = page.locator(f"#{kind}-panels h3")
            assert [title.is_visible() for title in titles.all()] == [True, False, True]

    def test_the_best_of_all_is_not_filtered(self, opened):
        page = opened()
        rows = page.locator("#table-best tr:visible")
        before = rows.all_inner_texts()
        assert before
        box(page, "0.50").uncheck()
        page.get_by_role("button", name="Hide methods").click()
        assert rows.all_inner_texts() == before

    def test_toggle_keeps_what_is_read_in_its_place(self, opened):
        page = opened()
        curves = page.locator("#curve-panels")
        curves.evaluate("node => scrollTo(0, scrollY + node.getBoundingClientRect().top - 150)")
        before = curves.bounding_box()["y"]
        box(page, "Consistency, λ = 1").evaluate("box => box.click()")
        assert page.evaluate("scrollY") > 500
        assert curves.bounding_box()["y"] == pytest.approx(before, abs=2)


class TestCurves:
    @pytest.fixture
    def accuracy(self, folder) -> pd.DataFrame:
        """Return the table of certified accuracy."""
        table = pd.read_csv(folder / "tables/certified_accuracy.csv")
        return table[table["metric"] == metrics.CERTIFIED]

    @staticmethod
    def expected(accuracy: pd.DataFrame, sigma: float, radius: float) -> list[str]:
        at = accuracy[(accuracy["sigma"] == sigma) & (accuracy["radius"] == radius)]
        return [f"{100 * row.mean:.2f} ± {100 * row.std:.2f}" for row in at.itertuples()]

    @staticmethod
    def reading(panel) -> list[str]:
        return [cell.inner_text() for cell in panel.locator("tbody td:last-child").all()]

    def test_pointing_reads_all_methods_at_a_radius(self, opened, accuracy):
        page = opened()
        panel = page.locator("#curve-panels figure").nth(1)
        cap = largest_radius(10_000, 0.001, 0.5)
        panel.locator(".chart").scroll_into_view_if_needed()
        plot = panel.locator("svg.marks .background").first.bounding_box()
        page.mouse.move(plot["x"] + plot["width"] * 0.75 / cap, plot["y"] + 50)
        expect(panel.locator("output")).to_have_text("r\xa0=\xa00.75")
        assert self.reading(panel) == self.expected(accuracy, 0.5, 0.75)
        others = page.locator("#curve-panels output")
        assert others.all_inner_texts() == ["r\xa0=\xa00.00", "r\xa0=\xa00.75", "r\xa0=\xa00.00"]

    def test_keys_move_the_slider(self, opened, accuracy):
        page = opened()
        panel = page.locator("#curve-panels figure").first
        assert self.reading(panel) == self.expected(accuracy, 0.25, 0)
        slider = panel.get_by_role("slider")
        slider.focus()
        for _ in range(50):
            page.keyboard.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") == "r = 0.25"
        assert self.reading(panel) == self.expected(accuracy, 0.25, 0.25)
        page.keyboard.press("End")
        cap = largest_radius(10_000, 0.001, 0.25)
        assert panel.locator("output").inner_text() == f"r\xa0=\xa0{cap:.4f}"

    def test_methods_can_be_hidden(self, opened):
        page = opened()
        panel = page.locator("#curve-panels figure").first
        lines = panel.locator("svg.marks .mark-line path")
        expect(lines).to_have_count(3)
        box(page, HOSTILE).uncheck()
        expect(lines).to_have_count(2)
        readings = panel.locator("tbody tr")
        assert [row.is_visible() for row in readings.all()] == [False, True, True]

    def test_charts_take_the_width_that_is_there(self, opened):
        page = opened()
        chart = page.locator("#curve-panels .chart").nth(1)
        before = chart.locator("svg.marks").bounding_box()["width"]
        box(page, "0.25").uncheck()
        box(page, "1.00").uncheck()
        page.wait_for_function(
            """([chart, before]) => {
                const drawn = chart.querySelector("svg.marks").getBoundingClientRect().width;
                const there = chart.getBoundingClientRect().width;
                return drawn > 2 * before && Math.abs(drawn - there) < 20;
            }""",
            arg=[chart.element_handle(), before],
        )


class TestPublishedPoints:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        """Return the working directory of a report with published accuracies."""
        methods = [{"method": "gaussian"}, {"method": "consistency", "lambda": 5}]
        methods[1]["published"] = "none"
        build(tmp_path, **PUBLISHED, methods=methods)
        return tmp_path

    def test_a_ring_tells_its_source(self, opened):
        page = opened(charts=False)
        chart = page.locator("#curve-panels .chart").nth(1)
        rings = chart.locator("svg.marks .mark-symbol path[fill=transparent]")
        expect(rings).to_have_count(8)
        assert "Rings: published numbers" in page.locator("#curves + p").inner_text()
        chart.scroll_into_view_if_needed()
        rings.nth(1).hover()
        tooltip = page.locator("#vg-tooltip-element")
        expect(tooltip).to_contain_text("salman2019")
        expect(tooltip).to_contain_text("54.91%")
        box(page, "Gaussian").uncheck()
        expect(rings).to_have_count(0)


def test_a_bar_tells_its_share(opened):
    page = opened()
    chart = page.locator("#outcome-panels .chart").first
    chart.scroll_into_view_if_needed()
    chart.locator("svg.marks .mark-rect path").first.hover()
    tooltip = page.locator("#vg-tooltip-element")
    expect(tooltip).to_contain_text(HOSTILE)
    expect(tooltip).to_contain_text("At the cap")
    assert re.search(r"Share:?\s*\d+\.\d\d%", tooltip.inner_text())


class TestImages:
    def test_lists_where_two_methods_differ_most(self, opened, folder, monkeypatch):
        page = opened()
        page.get_by_label("First method").select_option(label="Consistency, λ = 5")
        page.get_by_label("Second method").select_option(label=HOSTILE)
        page.locator("select[name=sigma]").select_option("0.50")
        monkeypatch.chdir(folder)
        content = experiment.load(folder / "reports/synthetic/experiment.json")
        sides = [
            sum(metrics.credited_radius(run.read_certificates()) for run in runs) / len(runs)
            for runs in (content.cells[content.rows[2], 0.5], content.cells[content.rows[0], 0.5])
        ]
        difference = pd.Series(sides[0] - sides[1], range(0, 360, 4))
        first, second = page.locator("#extremes table").all()
        for table, expected in (
            (first, difference.nlargest(10)),
            (second, difference.nsmallest(10)),
        ):
            found = [cell.inner_text() for cell in table.locator("tbody td:first-child").all()]
            assert [int(text) for text in found] == expected.index.tolist()
            shown = table.locator("tbody td:last-child").first.inner_text().replace("−", "-")
            assert float(shown) == pytest.approx(expected.iloc[0], abs=0.006)
        balance = page.locator("#balance").inner_text()
        assert "at σ = 0.50" in balance.replace("\xa0", " ")
        larger = (difference > 0).sum()
        assert f"(Consistency, λ = 5) has the larger radius on {larger}, the second" in balance
        mean, error = re.search(r"second: (\S+) ± (\S+) ", balance).groups()
        assert float(mean.replace("−", "-")) == pytest.approx(difference.mean(), abs=1e-4)
        assert float(error) == pytest.approx(difference.sem(), abs=1e-4)
        total = page.locator("#pairs svg.marks .mark-rect path")
        assert 10 < total.count() <= 90


def test_keyboard_reaches_every_control(opened):
    page = opened()
    order = []
    for _ in range(400):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => {
                const node = document.activeElement;
                const shown = node.matches("#filter input") ? node.nextSibling : node;
                if (node === document.body) return "";
                if (getComputedStyle(shown).outlineStyle === "none") {
                    return "no focus to be seen: " + node.outerHTML;
                }
                return node.name || node.type || node.innerText.trim() || node.tagName;
            }"""
        )
        if not name and order:
            break
        order.append(name)
    assert [name for name in order if name.startswith("no focus")] == []
    for name in ("sigma", "row", "range", "first", "second"):
        assert name in order, order
    assert order.index("sigma") < order.index("row") < order.index("range") < order.index("first")
    # 4 tables of results before the curves: 5 + 3 * (4 to 20) + 13 headings, all of them buttons
    headings = page.locator(".filtered thead th")
    assert (
        headings.locator("button").count()
        == page.locator(".filtered :is(figure.table, .sortable) thead th").count()
    )


def test_keys_sort_and_toggle(opened):
    page = opened()
    box(page, "0.25").focus()
    page.keyboard.press("Space")
    assert "0.25" not in cells(page, "Every run", "σ")
    page.get_by_role("region", name="Every run").get_by_role("button", name="Seed").focus()
    page.keyboard.press("Enter")
    assert cells(page, "Every run", "Seed") == ["2"] * 6 + ["1"] * 6 + ["0"] * 6


def test_wide_tables_scroll_by_keyboard(opened):
    page = opened(390)
    region = page.get_by_role("region", name="Every run")
    assert region.evaluate("region => region.scrollLeft") == 0
    region.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("region => region.scrollLeft > 0", arg=region.element_handle())


def test_without_its_script_the_page_shows_no_dead_controls(opened):
    page = opened(charts=False, java_script_enabled=False)
    expect(page.get_by_role("cell", name=HOSTILE).first).to_be_visible()
    assert page.locator(":is(button, input, select):visible").count() == 0


def test_prints_without_controls(opened):
    page = opened()
    page.emulate_media(media="print")
    assert (
        page.locator(":is(#filter, #theme, #choice, nav, input[type=range]):visible").count() == 0
    )
    expect(page.locator("#curve-panels svg.marks").first).to_be_visible()


def is_light(page) -> bool:
    background, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    return brightness(background) > brightness(ink)


def brightness(colour: str) -> int:
    """Return the sum of the channels of ``rgb(r, g, b)``."""
    return sum(int(part) for part in colour.strip("rgb()").split(","))


def test_labels_of_axes_are_whole_and_apart(browser, tmp_path):
    label = "Gaussian training, published log"
    methods = [{"method": "gaussian", "label": label}, {"method": "consistency", "lambda": 5}]
    # Noise so small that its radii, and the ticks, need two decimals.
    build(tmp_path, methods=methods, sigmas=[0.12, 0.5, 1.0])
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto((tmp_path / "index.html").as_uri())
    expect(page.locator(".chart svg.marks")).to_have_count(7)
    overlaps = page.evaluate(
        """() => [...document.querySelectorAll(".role-axis-label")].flatMap((axis) => {
            const boxes = [...axis.querySelectorAll("text")]
                .filter((text) => text.getAttribute("opacity") !== "0")
                .map((text) => text.getBoundingClientRect());
            return boxes.slice(1).filter((box, i) =>
                box.left < boxes[i].right + 1 && boxes[i].left < box.right + 1 &&
                box.top < boxes[i].bottom - 2 && boxes[i].top < box.bottom - 2);
        }).length"""
    )
    assert overlaps == 0
    found = page.locator("#outcome-panels .role-axis-label text").all_text_contents()
    assert len(found) > 6
    assert not [text for text in found if "…" in text]
    assert "Gaussian training,published log" in found
    page.close()
