"""The page in a browser: what a reader can do, by mouse and by keyboard, and that nothing leaves it."""

import re
import shutil
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

from ibrobust.files import released_zoo
from ibrobust.page.board import board_of
from ibrobust.page.entries import Entry
from ibrobust.page.writing import write_page
from ibrobust.robustness.leaderboard import leaderboard
from ibrobust.robustness.statistics import mcnemar
from ibrobust.robustness.storage import load_results
from tests.page_results import FORMULA, HOSTILE, RUNS, hostile, kept_results

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")

STRICT = [
    "digits-mlp-l2-g0.1-s0-e99535be", "digits-mlp-none-g0-s0-3f2b0334", "digits-mlp-dvib-g1-s0-82f389b2",
    "digits-mlp-none-adv0.1-g0-s0-87be6ebf", "mnist-lenet-l2-g0.1-s0-9348a0eb",
]  # fmt: skip


class Opened(NamedTuple):
    """The page in a browser, and the entries in the order of the leaderboard."""

    page: "playwright.Page"
    entries: list[Entry]
    address: str

    def at(self, view: str = "") -> "playwright.Page":
        """The page anew, at a view."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}{view}")
        self.page.wait_for_selector("#board-table .tabulator-row" if not view else "#run h1")
        return self.page

    def names(self) -> list[str]:
        """The runs in the table from top to bottom."""
        return self.page.locator(".tabulator-row a").all_inner_texts()

    def column(self, name: str) -> list[str]:
        return self.page.locator(f".tabulator-row [tabulator-field='{name}']").all_inner_texts()


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("page")
    kept = kept_results(folder / "results")
    files = [released_zoo() / "results" / "strict" / f"{name}.parquet" for name in STRICT]
    entries = [*kept, hostile(kept[0]), *(Entry(load_results(file), (file,)) for file in files)]
    path, *_ = write_page(entries, folder / "report", runs=[released_zoo() / "runs"])
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM)
        page = chromium.new_page(viewport={"width": 1280, "height": 1000})
        yield Opened(page, board_of(entries)[1], path.as_uri())
        chromium.close()


@pytest.fixture
def opened(browser) -> Iterator[Opened]:
    """The leaderboard; afterwards nothing may have been asked for outside the folder, nor complained of."""
    asked, complaints = [], []

    def told(message):
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def dialog(box):
        complaints.append(f"a dialog: {box.message}")
        box.dismiss()

    handlers = {
        "request": lambda request: asked.append(request.url), "console": told, "dialog": dialog,
        "pageerror": lambda error: complaints.append(str(error)),
    }  # fmt: skip
    for event, handler in handlers.items():
        browser.page.on(event, handler)
    browser.at()
    yield browser
    for event, handler in handlers.items():
        browser.page.remove_listener(event, handler)
    folder = browser.address.rpartition("/")[0]
    assert [url for url in asked if not url.startswith((folder, "data:", "about:"))] == []
    assert complaints == []


def test_columns_sort(opened):
    assert opened.names() == [entry.run for entry in opened.entries]
    clean = [entry.results.clean for entry in opened.entries]
    opened.page.get_by_role("button", name="clean").click()
    assert opened.column("clean") == [f"{value:.3f}" for value in sorted(clean, reverse=True)]
    opened.page.get_by_role("button", name="clean").click()
    assert opened.column("clean") == [f"{value:.3f}" for value in sorted(clean)]


def test_search_and_filters_narrow_table_and_figures(opened):
    page = opened.page
    page.get_by_label("Search").fill("l2 strict")
    assert sorted(opened.names()) == sorted(name for name in STRICT if "-l2-" in name)
    page.get_by_label("Data set", exact=True).select_option(label="mnist")
    assert opened.names() == [STRICT[4]]
    assert page.locator("#count").inner_text() == "1 of 8 results"
    assert "mnist strict" in page.locator("#question").inner_text()
    page.get_by_label("Data set", exact=True).select_option(label="digits")
    page.get_by_label("Search").fill("nothing of that name")
    assert opened.names() == []
    page.get_by_role("button", name="Clear").click()
    assert len(opened.names()) == 8
    for name, value in (("Regulariser", "dvib"), ("Protocol", "paper"), ("Norm", "linf"), ("Verdict", "unaudited")):
        page.get_by_label(name, exact=True).select_option(label=value)
        wanted = {"Regulariser": 1, "Protocol": 3, "Norm": 8, "Verdict": 3}[name]
        assert len(opened.names()) == wanted
        page.get_by_role("button", name="Clear").click()


def test_the_slider_moves_table_and_figures_together(opened):
    page = opened.page
    page.get_by_label("Protocol", exact=True).select_option(label="strict")
    page.get_by_label("Data set", exact=True).select_option(label="digits")
    before = page.locator("#information").inner_html()
    page.locator("#eps").fill("11")  # Place 0 is the mean, and radii begin at 0.
    assert page.locator("#eps-value").inner_text() == "ε = 0.1"
    wanted = [entry.results for entry in opened.entries if entry.run in STRICT[:4] and entry.results.card.audit]
    assert sorted(opened.column("robust")) == sorted(f"{result.robust_EN[-1].mean():.3f}" for result in wanted)
    page.wait_for_function("before => document.querySelector('#information').innerHTML !== before", arg=before)
    assert page.locator("#robustness g[aria-label='rule'] line").count() == len(
        {run.split("-")[2] for run in STRICT[:4]} - {"none"}
    )


def test_a_legend_entry_hides_a_group(opened):
    page = opened.page
    links = page.locator("#robustness a[aria-label*='dvib']")
    assert links.count() == 1
    page.locator("#groups").get_by_role("button", name="dvib").click()
    playwright.expect(links).to_have_count(0)
    assert page.locator("#groups").get_by_role("button", name="dvib").get_attribute("aria-pressed") == "false"
    assert len(opened.names()) == 8


def test_a_hover_names_the_run_and_a_click_on_a_line_opens_it(opened):
    page = opened.page
    line = page.locator(f"#robustness a[aria-label*='{STRICT[2]}'] path")
    box = line.bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] + 1)
    playwright.expect(page.locator("#robustness g[aria-label='tip']")).to_contain_text(STRICT[2])
    page.mouse.click(box["x"] + 1, box["y"] + 1)
    assert page.locator("#run h1").inner_text() == STRICT[2]


def test_a_run_shows_its_adversarial_images_and_its_facts(opened):
    page = opened.page
    page.get_by_role("link", name=RUNS[0]).last.click()
    playwright.expect(page.locator("#run h1")).to_have_text(RUNS[0])
    images = page.locator("#run .card img")
    assert images.count() >= 9
    assert images.evaluate_all("all => all.every(each => each.naturalWidth === 8)")
    card = page.locator("#run .card").first.inner_text()
    assert re.search(r"(fgsm|bim|pgd|deepfool) breaks it at ε 0\.\d+", card)
    assert re.search(r"× [\d.]+; largest change 0\.\d+", card)
    assert re.search(r"class \d \(0\.\d{3}\)", card)
    assert "python -m ibrobust.train --reg l2 --gamma 0.1 --seed 0" in page.locator("#run").inner_text()
    assert {"loss", "error"} <= set(page.locator("#run figcaption").all_inner_texts())
    page.get_by_role("link", name="This sample in other runs").first.click()
    playwright.expect(page.locator("#run h1")).to_contain_text("across models")
    assert page.locator("#run .card").count() >= 2


def test_an_audit_is_shown_check_by_check(opened):
    page = opened.at(f"#/run/strict%2F{STRICT[2]}")
    audit = next(entry.results.card.audit for entry in opened.entries if entry.run == STRICT[2])
    text = page.locator("#run").inner_text()
    assert all(finding.sentence in text for finding in audit.findings)
    assert text.count("✓ passed") == sum(finding.passed for finding in audit.findings)


def test_two_runs_side_by_side(opened):
    page = opened.page
    for name in RUNS:
        page.get_by_label(f"compare {name}, paper").check()
    page.get_by_role("button", name="Compare two").click()
    playwright.expect(page.locator("#run h1")).to_have_text("Two runs side by side")
    kept = {entry.run: entry.results for entry in opened.entries if entry.results.card.settings.protocol == "paper"}
    a, b = (kept[name] for name in RUNS)
    only_a, only_b = (a.robust_EN & ~b.robust_EN).sum(1), (b.robust_EN & ~a.robust_EN).sum(1)
    p = mcnemar(only_a, only_b)
    rows = [row.split("\t") for row in page.locator("#run table tbody tr").all_inner_texts()]
    assert [row[5:7] for row in rows] == [[str(one), str(other)] for one, other in zip(only_a, only_b, strict=True)]
    assert [row[7:9] for row in rows] == [
        [f"{mid:.4f}", f"{exact:.4f}"] for mid, exact in zip(p.mid, p.exact, strict=True)
    ]
    page.get_by_label("At", exact=True).select_option("3")
    alone = page.locator("#run .samples").all_inner_texts()
    samples = a.rows["sample"].to_numpy()
    for text, first, second in zip(alone, (a, b), (b, a), strict=True):
        wanted = samples[np.asarray(first.robust_EN[3] & ~second.robust_EN[3])]
        assert [int(word) for word in text.split()] == wanted.tolist()


def test_the_reader_chooses_columns(opened):
    page = opened.page
    assert not page.get_by_role("button", name="seed").is_visible()
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("seed").check()
    assert opened.column("seed") == ["0"] * 8
    page.get_by_label("clean").uncheck()
    assert not page.get_by_role("button", name="clean").is_visible()


def test_everything_is_reached_by_keyboard(opened):
    page = opened.page
    focused = "document.activeElement"

    def tab_to(condition: str, limit: int = 90) -> None:
        for _ in range(limit):
            page.keyboard.press("Tab")
            if page.evaluate(f"(e => {condition})({focused})"):
                return
        raise AssertionError(f"no Tab leads to {condition}")

    tab_to("e.id === 'filter-protocol'")
    page.keyboard.type("strict")
    assert len(opened.names()) == 5
    tab_to("e.id === 'eps'")
    page.keyboard.press("ArrowRight")
    assert page.locator("#eps-value").inner_text() == "ε = 0"
    tab_to("e.closest('#groups')")
    page.keyboard.press("Space")
    assert page.locator("#groups button").first.get_attribute("aria-pressed") == "false"
    tab_to("e.closest('#robustness a')")
    assert "verdict" in page.locator("#question").inner_text()
    tab_to("e.className === 'sort' && e.textContent === 'run'")
    page.keyboard.press("Enter")
    assert opened.names() == sorted(STRICT)
    tab_to("e.type === 'checkbox' && e.closest('.tabulator')")
    page.keyboard.press("Space")
    tab_to(f"e.textContent === '{sorted(STRICT)[0]}'")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#run h1")).to_have_text(sorted(STRICT)[0])
    assert page.evaluate(f"{focused}.tagName") == "H1"


def test_hostile_names_are_text(opened):
    page = opened.page
    assert HOSTILE in opened.names()
    assert FORMULA in opened.column("dataset")
    assert "<b>l2</b>" in page.locator("#filter-reg").inner_text()
    page.get_by_role("link", name=HOSTILE).click()
    playwright.expect(page.locator("#run h1")).to_have_text(HOSTILE)
    text = page.locator("#run").inner_text()
    assert "Warning: <img src=x onerror=alert(1)>" in text
    assert FORMULA in text
    page.goto(f"{opened.address}#/run/<img src=x onerror=alert(2)>")
    playwright.expect(page.locator("#run .warning")).to_contain_text("there is no result")


def test_a_rank_stands_with_the_ranks_that_the_samples_leave_open(opened):
    opened.at()
    board = leaderboard([entry.results for entry in opened.entries])
    ranked = board[board["rank"].notna()]
    expected = [f"{row.rank} {row.rank_low}–{row.rank_high}{' =' if row.tied else ''}" for row in ranked.itertuples()]
    assert expected
    assert [cell for cell in opened.column("rank") if cell] == expected


def test_printed_and_on_a_phone_nothing_is_cut(opened):
    page = opened.page
    assert len(page.pdf()) > 10_000
    try:
        page.set_viewport_size({"width": 400, "height": 800})
        for view in ("", f"#/run/paper%2F{RUNS[0]}", f"#/compare/paper%2F{RUNS[0]}/paper%2F{RUNS[1]}"):
            opened.at(view)
            assert page.evaluate("document.documentElement.scrollWidth") <= 400
    finally:
        page.set_viewport_size({"width": 1280, "height": 1000})


def test_a_single_file_opens_a_run_without_any_other(browser, tmp_path):
    (path,) = write_page(browser.entries[:2], tmp_path, runs=[], single_file=True)
    browser.page.goto(f"{path.as_uri()}#/run/strict%2F{browser.entries[1].run}")
    playwright.expect(browser.page.locator("#run h1")).to_have_text(browser.entries[1].run)


def test_a_missing_file_of_a_run_is_said(browser, tmp_path):
    path, *others = write_page(browser.entries[:1], tmp_path, runs=[])
    others[0].unlink()
    browser.page.goto(f"{path.as_uri()}#/run/strict%2F{browser.entries[0].run}")
    playwright.expect(browser.page.locator("#run .warning")).to_contain_text("runs/0.js is not beside this page")
