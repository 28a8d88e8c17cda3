"""Several training seeds of a recipe on the page: one row and one line with a band, and the way to each seed."""

import shutil
from dataclasses import dataclass

import numpy as np
import pytest

from ibrobust.commands import report
from ibrobust.page.board import board_of
from ibrobust.page.entries import Entry
from ibrobust.page.writing import write_page
from ibrobust.robustness.leaderboard import leaderboard
from ibrobust.robustness.seeds import by_recipe
from ibrobust.robustness.storage import save_results
from tests.test_seed_figures import BASELINE
from tests.test_seeds import OTHER, SEEDS

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@dataclass(frozen=True)
class Certified(Entry):
    """A result of which half of what attacks leave is certain."""

    @property
    def certain(self):
        return self.results.robust_EN.mean(1) / 2


ENTRIES = [*(Certified(result, ()) for result in SEEDS), Entry(OTHER, ()), Entry(BASELINE, ())]


def test_the_page_s_rows_are_those_of_the_leaderboard_by_recipe():
    data, ordered = board_of(ENTRIES)
    recipes, board = data["recipes"], by_recipe([entry.results for entry in ENTRIES])
    assert [row[recipes["names"].index("run")] for row in recipes["rows"]] == board["run"].tolist()
    for name in ("robust_avg", "robust_avg_sd", "clean_sd", "rank", "rank_low", "rank_high", "seeds"):
        ours = np.array([row[recipes["names"].index(name)] for row in recipes["rows"]], dtype=float)
        np.testing.assert_allclose(ours, board[name].astype(float), rtol=1e-5, err_msg=name)
    (several,) = [members for members in recipes["members"] if len(members) > 1]
    assert [ordered[place].run for place in several] == sorted(result.card.run for result in SEEDS)
    assert sorted(place for members in recipes["members"] for place in members) == list(range(len(ENTRIES)))
    runs = leaderboard([entry.results for entry in ENTRIES])
    assert [row[[each["name"] for each in data["columns"]].index("run")] for row in data["rows"]] == runs[
        "run"
    ].tolist()


def test_single_seeds_and_those_that_are_asked_for_alone_have_no_rows_by_recipe():
    assert "recipes" not in board_of(ENTRIES[2:])[0]
    assert "recipes" not in board_of(ENTRIES, by_seed=True)[0]


def test_report_keeps_each_run_on_the_page_where_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_figures", lambda *_: [])
    for result in SEEDS[:2]:
        save_results(result, tmp_path / "strict" / f"{result.card.run}.parquet")
    found = {}
    for words in ([], ["--group-by", "run"]):
        report.main([str(tmp_path), "--html", "--out", str(tmp_path / "out"), *words])
        found[bool(words)] = '"recipes":' in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert found == {False: True, True: False}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if not CHROMIUM:
        pytest.skip("no Chromium here: apt-get install chromium")
    path, *_ = write_page(ENTRIES, tmp_path_factory.mktemp("page"), runs=[], single_file=True)
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM)
        page = chromium.new_page(viewport={"width": 1600, "height": 1000})
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector("#information svg")
        yield page
        assert errors == []
        chromium.close()


@pytest.fixture
def opened(page):
    page.goto(f"{page.url.partition('#')[0]}#/")
    page.get_by_role("button", name="Clear").click()
    playwright.expect(page.locator(".tabulator-row")).to_have_count(3)
    return page


def names(page):
    return page.locator(".tabulator-row a").all_inner_texts()


def test_a_row_of_seeds_has_means_deviations_and_their_number(opened):
    board = by_recipe([entry.results for entry in ENTRIES])
    assert names(opened) == board["run"].tolist()
    place = board["seeds"].tolist().index(3)
    mean, deviation = board.loc[place, "robust_avg"], board.loc[place, "robust_avg_sd"]
    cell = opened.locator(".tabulator-row").nth(place).locator("[tabulator-field='robust']")
    assert cell.inner_text() == f"{mean:.3f} ± {deviation:.3f} sd"
    assert opened.locator(".tabulator-row [tabulator-field='seeds']").all_inner_texts() == [*map(str, board["seeds"])]
    opened.locator("#eps").fill("7")
    eps = SEEDS[0].radii_E[6]
    shares = [result.robust_EN[6].mean() for result in SEEDS]
    assert eps == pytest.approx(0.06)
    assert cell.inner_text() == f"{np.mean(shares):.3f} ± {np.std(shares, ddof=1):.3f} sd"
    certain = opened.locator(".tabulator-row").nth(place).locator("[tabulator-field='certain']")
    assert certain.inner_text() == f"{np.mean(shares) / 2:.3f}"
    opened.locator("#eps").fill("0")


def test_seeds_are_filled_and_certificates_hatched_and_both_are_named(opened):
    bands = opened.locator("#robustness g[aria-label='area'] path")
    fills = bands.evaluate_all("all => all.map((each) => getComputedStyle(each).fill)")
    assert sum("hatch" in fill for fill in fills) == 1
    assert len(fills) == 2
    assert "training seeds" in opened.locator("[data-band='seeds']").inner_text()
    assert "certain" in opened.locator("[data-band='certified']").inner_text()
    opened.get_by_label("Search").fill(OTHER.card.run)
    playwright.expect(bands).to_have_count(0)
    assert not opened.locator("[data-band='seeds']").is_visible()
    assert not opened.locator("[data-band='certified']").is_visible()


def test_a_row_opens_its_seeds_by_keyboard_and_each_seed_leads_back(opened):
    link = opened.get_by_role("link", name="and 2 more seeds").last
    link.focus()
    opened.keyboard.press("Enter")
    opened.wait_for_selector("#run table")
    assert "and 2 more seeds" in opened.locator("#run h1").inner_text()
    rows = [row.split("\t") for row in opened.locator("#run tbody tr").all_inner_texts()]
    ours = {result.card.run: f"{result.robust_avg:.3f}" for result in SEEDS}
    assert {row[0]: row[4] for row in rows[:3]} == ours
    averages = [result.robust_avg for result in SEEDS]
    assert [rows[3][4], rows[4][4]] == [f"{np.mean(averages):.3f}", f"{np.std(averages, ddof=1):.3f}"]
    opened.get_by_role("link", name=SEEDS[0].card.run).click()
    opened.wait_for_selector("#run .facts")
    assert opened.locator("#run h1").inner_text() == SEEDS[0].card.run
    opened.get_by_role("link", name="3 training seeds of this recipe").click()
    opened.wait_for_selector("#run tbody tr >> nth=4")


def test_seeds_can_be_listed_each_alone_and_found_by_name(opened):
    opened.get_by_label("Search").fill(SEEDS[0].card.run)
    assert [name.partition(" and ")[2] for name in names(opened)] == ["2 more seeds"]
    opened.get_by_label("Training seeds").select_option(label="each alone")
    assert names(opened) == [SEEDS[0].card.run]
    opened.get_by_label("Search").fill("")
    assert names(opened) == [str(run) for run in leaderboard([entry.results for entry in ENTRIES])["run"]]
    assert opened.locator("#count").inner_text() == "5 results"
    opened.get_by_role("button", name="Clear").click()
    assert opened.locator("#count").inner_text() == "3 rows of 5 results"
