"""The page in a real browser (headless Chromium, no network): clicks, keys, sorting, filters, sliders, colours, print."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orbit2.report.interactive import members as viewer
from orbit2.report.pages import assembly
from orbit2.report.pages.blocks import Block, Section
from orbit2.report.style import look as look_of
from tests.unit.report.test_sure import ZOOM, of_noise

pytestmark = [pytest.mark.browser, pytest.mark.slow]
api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
KNOWN = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("ORBIT2_CHROMIUM") or next(filter(None, map(shutil.which, KNOWN)), None)
SHOTS = os.environ.get("ORBIT2_SHOTS", "")  # a folder for screenshots
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium; or ORBIT2_CHROMIUM=/path/to/it)")
    with api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Opens the report: opened(viewport, scheme). No page may write to its console, fail, or ask anything of a network."""
    contexts, said, asked = [], [], []

    def look(viewport: dict[str, int] = WIDE, scheme: str = "light", page: Path | None = None) -> Any:
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, offline=True)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto((page or request.getfixturevalue("made").out / "index.html").as_uri())
        return tab

    yield look
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def overflow(tab: Any) -> int:
    return int(tab.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["1440", "390"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_its_window_with_every_fold_open(opened: Any, viewport: dict[str, int], scheme: str) -> None:
    tab = opened(viewport, scheme)
    assert overflow(tab) <= 0
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert overflow(tab) <= 0
    broken = "[...document.querySelectorAll('main img')].filter((one) => one.complete && !one.naturalWidth && !one.hidden).length"
    assert tab.evaluate(broken) == 0


def test_columns_are_sorted_up_down_and_back(opened: Any) -> None:
    tab = opened()
    table = tab.locator("table:has(tr[data-region=SAM])").last
    before = table.locator("tbody th").all_inner_texts()
    head = table.locator("thead th").nth(2)
    values = "(table) => [...table.tBodies[0].rows].map((row) => row.cells[2].dataset.value ?? null)"
    head.locator("button").click()
    up = table.evaluate(values)
    known = [float(v) for v in up if v is not None]
    assert head.get_attribute("aria-sort") == "ascending" and known == sorted(known) and len(known) > 30
    assert up[: len(known)] == [v for v in up if v is not None]  # n/a last
    head.locator("button").press("Enter")
    down = table.evaluate(values)
    assert [float(v) for v in down[: len(known)]] == known[::-1] and down[len(known) :] == [None] * (len(up) - len(known))
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") is None and table.locator("tbody th").all_inner_texts() == before


def test_rows_are_filtered_by_words(opened: Any) -> None:
    tab = opened()
    scroll = tab.locator(".scroll:has(tr[data-region=SAM])").last
    bar = scroll.locator("xpath=preceding-sibling::div[contains(@class,'filter')][1]")
    bar.locator("input").fill("south america")
    shown = scroll.locator("tbody tr:visible")
    assert 2 <= shown.count() < 12 and bar.locator("output").inner_text().startswith(f"{shown.count()} of 5")
    assert all("america" in text.lower() for text in shown.all_inner_texts())
    bar.locator("input").fill("nowhere at all")
    assert shown.count() == 0
    bar.locator("input").fill("")
    assert shown.count() >= 58


def test_a_click_on_the_map_filters_the_tables(opened: Any) -> None:
    tab = opened()
    widget = tab.locator("[data-widget=regions]").first
    region = widget.locator("path[data-region=SAS]")
    region.hover()
    assert widget.locator(".told").inner_text().startswith("S. Asia (SAS): ")
    region.click()
    rows = tab.locator("tr[data-region]:visible")
    assert rows.count() >= 1 and {row.get_attribute("data-region") for row in rows.all()} == {"SAS"}
    assert region.get_attribute("aria-pressed") == "true" and widget.locator("select.which").input_value() == "SAS"
    assert widget.locator("path.chosen").get_attribute("d") == region.get_attribute("d")  # outlined above its neighbours
    fill = region.get_attribute("fill")
    widget.locator("select.what").select_option("6")  # another score: other colours, other words
    assert re.search(r"RMSE [\d.]", widget.locator(".told").inner_text())
    assert region.get_attribute("fill") != fill
    widget.locator(".clear").click()
    assert rows.count() >= 58 and widget.locator(".clear").is_hidden()


def test_the_map_is_used_with_keys_alone(opened: Any) -> None:
    tab = opened()
    widget = tab.locator("[data-widget=regions]").first
    widget.locator("select.which").focus()
    tab.keyboard.press("Tab")
    first = tab.evaluate("document.activeElement.dataset.region")
    tab.keyboard.press("ArrowRight")
    second = tab.evaluate("document.activeElement.dataset.region")
    assert first and second and first != second
    assert f"({second}): " in tab.evaluate("document.activeElement.getAttribute('aria-label')")
    tab.keyboard.press("Enter")
    assert {row.get_attribute("data-region") for row in tab.locator("tr[data-region]:visible").all()} == {second}
    tab.keyboard.press("Escape")
    assert tab.locator("tr[data-region]:visible").count() >= 58
    assert widget.locator("path[tabindex='0']").count() == 1  # one stop of the tab key


def until(tab: Any, true: str) -> None:
    """Asks until it is so. Playwright's own waiting asks again by `eval` in the page, which the page's security policy refuses."""
    for _ in range(400):
        if tab.evaluate(true):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never true: {true}")


def test_dates_variables_and_the_swipe(opened: Any) -> None:
    tab = opened()
    widget = tab.locator("[data-widget=dates]").first
    over, stamp = widget.locator("img.over"), widget.locator(".stamp")
    first, when = over.get_attribute("src"), stamp.inner_text()
    date = widget.locator("input.date")
    date.focus()
    tab.keyboard.press("Home")
    tab.keyboard.press("End")
    assert stamp.inner_text() != when and date.get_attribute("aria-valuetext") == stamp.inner_text()
    assert over.get_attribute("src") != first and stamp.inner_text() in over.get_attribute("alt")
    widget.locator("select.variable").select_option("precipitation_rate")
    widget.locator("select.left").select_option("input")
    assert over.get_attribute("alt").startswith("Precipitation, Input")
    until(tab, "[...document.querySelectorAll('.pane img')].every((one) => one.complete && one.naturalWidth > 100)")
    swipe = widget.locator("input.swipe")
    swipe.focus()
    tab.keyboard.press("Home")
    assert over.evaluate("(one) => getComputedStyle(one).clipPath").replace("px", "%").startswith("inset(0")
    assert widget.locator(".line").evaluate("(one) => one.offsetLeft") <= 0
    box = swipe.bounding_box()
    swipe.click(position={"x": 0.75 * box["width"], "y": box["height"] / 2})
    assert abs(int(swipe.input_value()) - 75) <= 2
    assert swipe.get_attribute("aria-valuetext").startswith(f"{swipe.input_value()} % Input")
    widget.locator("select.view").select_option("box")
    until(tab, "document.querySelector('.pane img.over').complete")
    assert not widget.locator(".absence").is_visible()


def test_a_page_without_its_folder_says_so(chromium: Any, made: SimpleNamespace, tmp_path: Path) -> None:
    alone = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "figures/page/gone.webp", made.html)  # as if there were room for none
    (tmp_path / "index.html").write_text(alone, encoding="utf-8")
    tab = chromium.new_page(viewport=WIDE)
    tab.goto((tmp_path / "index.html").as_uri())
    until(tab, "document.querySelectorAll('main img.absent').length > 10")
    assert "not beside this page" in tab.locator(".absence").first.inner_text()
    assert overflow(tab) <= 0
    tab.close()


def test_figures_are_enlarged_and_closed_with_escape(opened: Any) -> None:
    tab = opened()
    figure = tab.locator("figure:has(.panels img:nth-child(3)):visible").first
    figure.locator(".panels img").nth(1).click()
    dialog = tab.locator("#enlarged")
    assert dialog.is_visible() and dialog.locator(".place").inner_text().startswith("2 of")
    assert dialog.locator("img").get_attribute("alt") == figure.locator(".panels img").nth(1).get_attribute("alt")
    tab.keyboard.press("ArrowRight")
    assert dialog.locator(".place").inner_text().startswith("3 of")
    tab.keyboard.press("Escape")
    assert not dialog.is_visible()
    button = figure.get_by_role("button", name=re.compile("^Enlarge: "))
    button.focus()
    tab.keyboard.press("Enter")
    assert dialog.is_visible()


def test_colours_follow_the_system_and_the_reader(opened: Any) -> None:
    tab = opened(scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = tab.evaluate(ground)
    button = tab.locator("#theme")
    button.click()
    assert button.inner_text() == "Colours: light" and tab.evaluate(ground) == "rgb(255, 255, 255)" != dark
    button.click()
    assert button.inner_text() == "Colours: dark" and tab.evaluate(ground) == dark
    button.click()
    assert button.inner_text() == "Colours: as the system"
    assert opened().evaluate(ground) == "rgb(255, 255, 255)"


def test_contents_mark_what_is_read(opened: Any, made: SimpleNamespace) -> None:
    tab = opened()
    for name in re.findall(r'<section id="([^"]+)">', made.html)[1:6:2]:
        tab.evaluate(f"document.getElementById('{name}').scrollIntoView({{behavior: 'instant'}})")
        until(tab, f"document.querySelector('nav.toc a[aria-current]')?.hash === '#{name}'")
    assert tab.locator("nav.toc a[aria-current]").count() == 1


def test_print_has_every_map_every_column_and_no_controls(opened: Any, tmp_path: Path) -> None:
    tab = opened()
    tab.locator(".filter input").first.fill("nowhere at all")  # what is filtered away is printed
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 703, "height": 1000})  # A4 less its margins, in CSS pixels
    assert overflow(tab) <= 0
    cut = tab.evaluate("""[...document.querySelectorAll('.scroll')]
        .filter((one) => one.offsetParent && one.scrollWidth > one.clientWidth + 1)
        .map((one) => one.getAttribute('aria-label').slice(0, 60))""")
    assert cut == []
    figures = tab.evaluate("""[...document.querySelectorAll('figure .panels img')].filter((one) => {
        const box = one.getBoundingClientRect(); return box.width < 20 || box.height < 10 || !one.naturalWidth; }).length""")
    assert figures == 0
    shown = "[...document.querySelectorAll('.controls, .filter, button.plain, .widget')].filter((one) => one.offsetParent).length"
    assert tab.evaluate(shown) == 0
    assert tab.evaluate("[...document.querySelectorAll('table:not(details.long table) tbody tr')].every((row) => row.offsetParent)")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    pages = tab.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True, print_background=True)
    assert 6 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", pages)) <= 24


@pytest.fixture(scope="module")
def of_members(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with nothing but the viewer of members: two variables, two dates."""
    with look_of():
        widget = viewer.widget(of_noise(), ZOOM, 2, 0)
        chapters = [Section("sure", "How sure is it?", "How sure", [Block("widget", widget=widget)])]
        page = assembly.rendered("Members", "report", ["", ""], chapters, "noise")
    out = tmp_path_factory.mktemp("members") / "report"
    assembly.write(out, page, chapters)
    return out / "index.html"


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["1440", "390"])
def test_members_are_looked_at_by_variable_and_date(opened: Any, of_members: Path, viewport: dict[str, int]) -> None:
    tab = opened(viewport, page=of_members)
    widget = tab.locator("[data-widget=members]")
    shots = widget.locator("img[data-layer]")
    assert widget.locator(".controls").is_visible() and overflow(tab) <= 0

    def shown() -> list[str]:
        tab.wait_for_function("[...document.querySelectorAll('img[data-layer]')].every((one) => one.complete && one.naturalWidth > 50)")
        return [str(src) for src in shots.evaluate_all("(all) => all.map((one) => one.src)")]

    first = shown()
    layers = shots.evaluate_all("(all) => all.map((one) => one.dataset.layer)")
    assert layers == ["truth", "mean", "member0", "member1", "member2", "spread"] and len(set(first)) == 5  # its truth is member 1
    stamp = widget.locator(".stamp").inner_text()
    widget.locator("input.date").focus()
    tab.keyboard.press("ArrowRight")
    second = shown()
    assert widget.locator(".stamp").inner_text() != stamp and not set(first) & set(second)
    assert widget.locator("input.date").get_attribute("aria-valuetext") == widget.locator(".stamp").inner_text()
    bar = widget.locator("img.bar.field").get_attribute("alt")
    widget.locator("select.variable").select_option("precipitation_rate")
    assert not (set(first) | set(second)) & set(shown()) and widget.locator("img.bar.field").get_attribute("alt") != bar
    assert all("Precipitation" in str(one.get_attribute("alt")) for one in shots.all())
    widget.locator("select.variable").select_option("2m_temperature")
    tab.keyboard.press("Tab")
    widget.locator("input.date").focus()
    tab.keyboard.press("ArrowLeft")
    assert shown() == first and widget.locator(".absence").is_hidden()
    if SHOTS:
        widget.screenshot(path=str(Path(SHOTS) / f"members_{viewport['width']}.png"))


def test_members_without_their_folder_say_so(chromium: Any, of_members: Path, tmp_path: Path) -> None:
    """The page alone, sent by mail: what does not lie in it is said, once it is asked for."""
    alone = tmp_path / "index.html"
    alone.write_text(of_members.read_text(encoding="utf-8").replace("data:image/webp", "figures/page/gone.webp#"), encoding="utf-8")
    context = chromium.new_context(viewport=WIDE, offline=True)
    tab = context.new_page()
    tab.goto(alone.as_uri())
    tab.wait_for_selector("[data-widget=members] .absence:visible")
    assert "not beside this page" in tab.locator("[data-widget=members] .absence").inner_text()
    context.close()
