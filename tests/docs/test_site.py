"""The documentation site: it builds without a warning, every link leads somewhere, nothing in it asks a network, its search finds."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.blocks import ROOT

build = pytest.importorskip("sphinx.cmd.build", reason="needs the extra `docs` (pip install -e '.[docs]')")
QUESTIONS = ["Start", "My data", "My cluster", "My GPU", "How good is it", "How sure is it", "What it costs", "What can go wrong",
             "Reference"]  # fmt: skip
KNOWN = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("ORBIT2_CHROMIUM") or next(filter(None, map(shutil.which, KNOWN)), None)


class Page(HTMLParser):
    """Where a page's elements lead (`links`), what it loads at once (`loads`), and what can be led to in it (`ids`)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {key: value or "" for key, value in attrs}
        self.ids |= {said[key] for key in ("id", "name") if said.get(key)}
        if "src" in said or tag == "link":
            self.loads.add(said.get("src") or said.get("href", ""))
        elif "href" in said:
            self.links.add(said["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site: `make docs-site` names its own."""
    if kept := os.environ.get("ORBIT2_SITE"):
        return Path(kept)
    out = tmp_path_factory.mktemp("site")
    assert build.build_main(["-W", "--keep-going", "-q", "-b", "html", "-c", str(ROOT / "docs/site"), str(ROOT / "docs"), str(out)]) == 0
    return out


def test_every_link_of_the_site_leads_somewhere_and_nothing_is_loaded_from_a_network(site: Path) -> None:
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 25
    lost = []
    for path, page in pages.items():
        for target in page.links | page.loads:
            to = urlsplit(target)
            if to.scheme or to.netloc:
                assert target not in page.loads, f"{path.name} loads {target}"
                continue
            goal = (path.parent / unquote(to.path)).resolve() if to.path else path
            if not goal.is_file() or (to.fragment and goal in pages and unquote(to.fragment) not in pages[goal].ids):
                lost.append(f"{path.relative_to(site.resolve())} -> {target}")
    assert lost == []


def test_the_sidebar_is_by_question_and_every_page_stands_in_it(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'<p class="caption"[^>]*><span class="caption-text">(.*?)</span>', text) == QUESTIONS
    for page in (ROOT / "docs").glob("*.md"):
        assert f'href="{page.stem}.html"' in text or page.stem == "index", page.name


def test_the_reference_says_what_the_docstrings_say(site: Path) -> None:
    text = (site / "site/library.html").read_text(encoding="utf-8")
    for name in ("orbit2.open", "orbit2.sample", "orbit2.load_model", "orbit2.models", "orbit2.Model.downscale", "orbit2.Model.score",
                 "orbit2.api.training.train", "orbit2.Downscaler.fit", "orbit2.Downscaler.predict", "orbit2.errors.OrbitError",
                 "orbit2.data.pairs.PairStore.dataset", "orbit2.remap.Regridder"):  # fmt: skip
        assert f'id="{name}"' in text, name
    assert "The week of real ERA5 that ships with orbit2" in text


@pytest.fixture
def tab(site: Path) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium; or ORBIT2_CHROMIUM=/path/to/it)")
    with api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found.new_context(color_scheme="light", offline=True).new_page()
        found.close()


@pytest.mark.slow
@pytest.mark.browser
def test_search_and_dark_mode_work_from_a_folder_without_a_network(site: Path, tab: Any) -> None:
    tab.goto(f"{(site / 'search.html').resolve().as_uri()}?q=halo")
    tab.wait_for_selector("ul.search li a", timeout=20_000)
    found = tab.eval_on_selector_all("ul.search li a", "all => all.map(one => one.getAttribute('href'))")
    assert any(link.startswith("tiles.html") for link in found)
    tab.goto((site / "index.html").resolve().as_uri())
    colour = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(colour)
    tab.locator(".theme-toggle:visible").first.click()  # from the system's to the other one
    assert tab.evaluate("document.body.dataset.theme") == "dark" and tab.evaluate(colour) != light
