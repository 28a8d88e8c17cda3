"""How large the page of a report is and how fast it opens and filters in Chromium: `python -m benchmarks.page`.

The released zoo's results in one file, then synthetic results in a folder, 500 and 5000 unless told otherwise, each of
a recipe of its own; with `--seeds 5`, five of each recipe, which the page shows as one row. Beside each time on the
clock stands how long the page's main thread worked for it, which other programs on the machine hardly change.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from ibrobust.commands.stored_results import stored_entries
from ibrobust.files import released_zoo
from ibrobust.page.entries import Entry, usual_runs
from ibrobust.page.writing import write_page
from ibrobust.recipe import make_recipe
from ibrobust.robustness.card import DataRecord, ModelRecord, QueryCount, ResultCard
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.settings import make_settings

_REGS = ("l2", "log-l2", "logvar", "cond-logvar", "dvib", "ceb", "weight-decay", "none")
_REPEATS = 5
_READY = (".tabulator-row", "#information svg")
_FILTERED = """async (text) => {
  const began = performance.now();
  const search = document.getElementById("search");
  search.value = text;
  search.dispatchEvent(new Event("input"));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - began;
}"""
_MOVED = """async (place) => {
  const began = performance.now();
  const slider = document.getElementById("eps");
  slider.value = place;
  slider.dispatchEvent(new Event("input"));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - began;
}"""


def synthetic(count: int, seeds: int = 1, samples: int = 50) -> list[Entry]:
    """So many results of one question, of random breaking radii, `seeds` of each recipe."""
    random = np.random.default_rng(0)
    settings = make_settings({"eps": "0:0.1", "protocol": "paper"})
    radii = np.append(np.float32(settings.radii), np.float32(np.inf))
    entries = []
    for number in range(count):
        place, seed = divmod(number, seeds)
        reg = _REGS[place % len(_REGS)]
        gamma = 0.0 if reg == "none" else 10.0 ** -(place // len(_REGS) % 5)
        recipe = make_recipe({"reg": reg, "gamma": gamma, "latent": 8 + place, "seed": seed})
        information = float(random.exponential(10))
        metrics = {
            "train": {
                "preserved_information": information,
                "preserved_information_low": 0.8 * information,
                "preserved_information_high": 1.3 * information,
            }
        }
        columns = {name: random.choice(radii, samples) for name in settings.attack_names}
        about = {"sample": np.arange(samples), "label": 0, "prediction": 0, "zero_gradient": False}
        card = ResultCard(
            settings=settings,
            attacks={name: {} for name in settings.attack_names},
            queries={name: QueryCount(forward=1, gradient=1) for name in ("clean", *settings.attack_names)},
            model=ModelRecord(run=recipe.run_id, recipe=recipe, metrics=metrics),
            data=DataRecord(name="digits"),
        )
        entries.append(Entry(BreakingRadii(pd.DataFrame({**about, **columns}), card), ()))
    return entries


def opened(browser: Browser, path: Path) -> tuple[Page, CDPSession, dict[str, float]]:
    """The page, what counts its work, and the milliseconds after which it painted first and was ready to be used."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    counter = page.context.new_cdp_session(page)
    counter.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri(), wait_until="commit")
    for selector in _READY:
        page.wait_for_selector(selector, state="attached")
    ready = page.evaluate("performance.now()")
    (painted,) = page.evaluate("performance.getEntriesByName('first-contentful-paint').map((each) => each.startTime)")
    return page, counter, {"first paint": painted, "ready": ready, "ready, work": worked(counter)}


def worked(counter: CDPSession) -> float:
    """Milliseconds of processor time that the main thread of the page has spent on tasks."""
    metrics = {each["name"]: each["value"] for each in counter.send("Performance.getMetrics")["metrics"]}
    return 1000 * float(metrics["TaskDuration"])


def measured(browser: Browser, name: str, files: Sequence[Path], seconds: float) -> None:
    """Prints one line: medians over several openings."""
    times: dict[str, list[float]] = {}
    for _ in range(_REPEATS):
        page, counter, found = opened(browser, files[0])
        for what, script, value in (
            ("filter", _FILTERED, "weight"),
            ("no filter", _FILTERED, ""),
            ("slider", _MOVED, 6),
        ):
            before = worked(counter)
            found[what] = page.evaluate(script, value)
            found[f"{what}, work"] = worked(counter) - before
        page.close()
        for what, milliseconds in found.items():
            times.setdefault(what, []).append(milliseconds)
    size = sum(path.stat().st_size for path in files)
    told = "; ".join(f"{what} {median(values):.0f} ms" for what, values in times.items())
    first = f"{files[0].stat().st_size / 1e6:.2f} MB" + (f" of {size / 1e6:.1f}" if len(files) > 1 else "")
    print(f"{name}: {first}, written in {seconds:.0f} s of one core; {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[500, 5000])
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    cases = [("released zoo, one file", stored_entries([released_zoo() / "results"]), True)]
    cases += [(f"{count} synthetic results", synthetic(count, options.seeds), False) for count in options.rows]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium)
        for place, (name, entries, single_file) in enumerate(cases):
            began = time.process_time()
            files = write_page(entries, Path(folder) / str(place), runs=usual_runs(), single_file=single_file)
            measured(browser, name, files, time.process_time() - began)
        browser.close()


if __name__ == "__main__":
    main()
