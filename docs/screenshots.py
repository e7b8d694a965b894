"""Takes the pages' screenshots of the demo's report (`make demo` first; needs Chromium, ORBIT2_CHROMIUM says where).

    python docs/screenshots.py [results/demo]
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).resolve().parent
KNOWN = ("chromium", "chromium-browser", "google-chrome")
MOST = 200_000  # bytes of a picture
SHOTS = {"report_decision.png": "decision", "report_maps.png": "maps", "report_sure.png": "sure"}  # what begins at each section


def taken(report: Path, sections: list[str]) -> list[Image.Image]:
    """A window's worth of `report` (index.html) from each section on."""
    chromium = os.environ.get("ORBIT2_CHROMIUM") or next(filter(None, map(shutil.which, KNOWN)))
    shots = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light", offline=True).new_page()
        tab.goto(report.resolve().as_uri(), timeout=300_000)
        for section in sections:
            for _ in range(2):  # what comes into view is drawn then, and moves what is below
                tab.evaluate("name => document.getElementById(name).scrollIntoView()", section)
                tab.wait_for_timeout(1500)
            shots.append(Image.open(io.BytesIO(tab.screenshot(timeout=300_000))).convert("RGB"))
        browser.close()
    return shots


def main(run: Path) -> None:
    for name, shot in zip(SHOTS, taken(run / "report/index.html", list(SHOTS.values())), strict=True):
        path = DOCS / name
        shot.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
        assert path.stat().st_size < MOST, f"{path} has {path.stat().st_size} bytes"
        print(f"{path} {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "results/demo"))
