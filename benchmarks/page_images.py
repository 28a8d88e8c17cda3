"""The pictures of the page in docs/images, made in Chromium from the released zoo's results: `python -m
benchmarks.page_images [FOLDER]`. They are to be looked at: nothing may overlap or be cut."""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from ibrobust.commands.stored_results import stored_entries
from ibrobust.files import released_zoo
from ibrobust.page.entries import usual_runs
from ibrobust.page.writing import write_page

RUN, OTHER = "strict%2Fmnist-lenet-l2-g0.1-s0-9348a0eb", "strict%2Fmnist-lenet-none-g0-s0-d42d58b8"
SIZES = {1280: 1000, 400: 1900}
VIEWS = {"page": "", "page-run": f"#/run/{RUN}", "page-compare": f"#/compare/{RUN}/{OTHER}", "page-sample": ""}


def at(page: Page, address: str, name: str) -> None:
    """Opens a view and waits until it is drawn."""
    page.goto("about:blank")
    page.goto(f"{address}{VIEWS[name]}")
    page.wait_for_selector("#information svg" if not VIEWS[name] else "#run h1")
    if name == "page":
        page.get_by_label("Data set", exact=True).select_option(label="mnist")
        page.get_by_label("Protocol", exact=True).select_option(label="strict")
        page.locator("#eps").fill("11")
        page.locator("#eps").blur()
    if name == "page-sample":
        pair = page.evaluate("JSON.parse(document.getElementById('data').textContent)")
        place = pair["keys"].index(RUN.replace("%2F", "/"))
        page.goto(f"{address}#/sample/{pair['pair'][place]}/4")
        page.wait_for_selector("#run .card img")
    page.wait_for_timeout(1000)


def main(folder: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        entries = stored_entries([released_zoo() / "results"])
        path, *_ = write_page(entries, Path(temporary), runs=usual_runs(), single_file=True)
        browser = driver.chromium.launch(executable_path=chromium)
        for width, height in SIZES.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            for name in VIEWS:
                at(page, path.as_uri(), name)
                if name == "page" and width > 1000:
                    page.locator("#information a[aria-label*='l2-g0.1-s0-9348a0eb'] circle").hover()
                taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                taken.quantize(256, dither=Image.Dither.NONE).save(folder / f"{name}-{width}.png", optimize=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path("docs") / "images")
