"""The HTML page in a real browser: it works, fetches nothing, and runs nothing that a model wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_fixture import assert_unharmed, browser
from html_fixture import ATTACKS, HOSTILE_ID, OVERRIDE, SPACED, built, hostile_run

pytest.importorskip("selenium", reason="the page is tested through selenium, which is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

SORTED_DESCENDING = ["two", "five", "three", "one", "four"]  # the one without a number last, either way
SORTED_ASCENDING = ["one", "three", "five", "two", "four"]


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    place = folder / "index.html"
    place.write_text(built(hostile_run(folder / "run"))[0], encoding="utf-8")
    return place.as_uri()


@pytest.fixture
def page(chrome: Any, address: str) -> Any:
    """The page freshly loaded, 1280 x 900, light."""
    size(chrome, 1280)
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    for log in ("browser", "performance"):
        chrome.get_log(log)
    chrome.get(address)
    return chrome


def size(chrome: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def names(page: Any) -> list[str]:
    return [row.text for row in page.find_elements(By.CSS_SELECTOR, "#table-numbers tbody th")]


def shown(page: Any) -> list[str]:
    return [row.text for row in page.find_elements(By.CSS_SELECTOR, "#table-numbers tbody tr:not([hidden]) th")]


def title(page: Any, column: int) -> Any:
    return page.find_element(By.CSS_SELECTOR, f"#table-numbers thead th:nth-child({column})")


def test_a_script_in_the_log_would_be_noticed(page: Any) -> None:
    """The checks below can fail: an inline handler, were one let in, is logged as a violation of the policy."""
    page.execute_script(
        "const x = document.createElement('p'); x.setAttribute('onclick', '1'); document.body.append(x)"
    )
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_every_problem_is_shown_and_nothing_runs(page: Any) -> None:
    for place in range(len(Select(page.find_element(By.ID, "task")).options)):
        Select(page.find_element(By.ID, "task")).select_by_index(place)
        for other in range(len(Select(page.find_element(By.ID, "problem")).options)):
            Select(page.find_element(By.ID, "problem")).select_by_index(other)
    assert_unharmed(page)


def test_what_a_model_wrote_is_shown_as_text(page: Any) -> None:
    chosen = Select(page.find_element(By.ID, "problem"))
    assert chosen.first_selected_option.text.startswith(HOSTILE_ID)
    texts = [pre.get_attribute("textContent") for pre in page.find_elements(By.CSS_SELECTOR, "#grid pre")]
    assert f"base says {ATTACKS[0]}" in texts
    assert SPACED in texts
    written_out = OVERRIDE
    for hidden in ("\u202e", "\u202c", "\u200b"):
        written_out = written_out.replace(hidden, f"⟨U+{ord(hidden):04X}⟩")
    assert written_out in texts
    assert len(page.find_elements(By.CSS_SELECTOR, "#grid .control")) >= 3
    assert not page.find_elements(By.CSS_SELECTOR, "#samples img, #samples iframe, #samples b")
    assert ATTACKS[1] in page.find_element(By.ID, "question").text
    assert_unharmed(page)


def test_whitespace_of_completions_is_kept(page: Any) -> None:
    pre = next(x for x in page.find_elements(By.CSS_SELECTOR, "#grid pre") if "indented" in x.text)
    assert pre.value_of_css_property("white-space") in ("pre-wrap", "preserve")
    assert "monospace" in pre.value_of_css_property("font-family")


def test_columns_are_sorted_by_number(page: Any) -> None:
    before = names(page)
    title(page, 3).find_element(By.TAG_NAME, "button").click()
    assert (names(page), title(page, 3).get_attribute("aria-sort")) == (SORTED_DESCENDING, "descending")
    title(page, 3).find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert (names(page), title(page, 3).get_attribute("aria-sort")) == (SORTED_ASCENDING, "ascending")
    title(page, 5).find_element(By.TAG_NAME, "button").click()
    assert names(page) == ["two", "three", "four", "five", "one"]
    assert title(page, 3).get_attribute("aria-sort") == "none"
    title(page, 4).find_element(By.TAG_NAME, "button").click()
    title(page, 4).find_element(By.TAG_NAME, "button").click()
    assert names(page) == ["one", "two", "three", "five", "four"]
    title(page, 4).find_element(By.TAG_NAME, "button").click()
    assert names(page) == before
    assert_unharmed(page)


def test_rows_are_filtered_by_name(page: Any) -> None:
    field = page.find_element(By.CSS_SELECTOR, "#table-numbers input")
    field.send_keys("TW")
    assert shown(page) == ["two"]
    field.clear()
    field.send_keys("HREE verdict")
    assert shown(page) == ["three"]
    assert page.find_element(By.CSS_SELECTOR, "#table-numbers .count").text == "1 of 5 rows"


def test_a_problem_is_chosen_and_answers_stand_side_by_side(page: Any) -> None:
    def heads() -> list[str]:
        return [x.text.split("\n")[0] for x in page.find_elements(By.CSS_SELECTOR, "#grid thead th")]

    def question() -> str:
        return str(page.find_element(By.CSS_SELECTOR, "#question dd").text)

    assert heads() == ["#", "base", "grpo", "dapo", "gcpo†"]
    first = page.find_elements(By.CSS_SELECTOR, "#grid tbody tr:first-child td")
    assert len(first) == 4
    assert len({cell.rect["y"] for cell in first}) == 1
    assert [cell.find_element(By.CSS_SELECTOR, ".badge").text for cell in first[:2]] == ["✓ right", "? not scored"]
    assert page.find_element(By.ID, "previous").get_property("disabled")
    before = question()
    page.find_element(By.ID, "next").click()
    assert question() != before
    assert page.find_element(By.ID, "place").text == "2 of 10"
    page.find_element(By.ID, "previous").click()
    assert question() == before
    page.find_element(By.CSS_SELECTOR, ".chip:nth-child(3)").send_keys(Keys.SPACE)
    assert heads() == ["#", "base", "grpo", "gcpo†"]
    Select(page.find_element(By.ID, "task")).select_by_visible_text("pick_one")
    assert question().startswith("pick_one/")
    assert "do not hold the prompt" in page.find_element(By.ID, "question").text
    assert_unharmed(page)


def test_figures_are_drawn_each_by_itself(page: Any) -> None:
    figures = page.find_elements(By.CSS_SELECTOR, "figure img")
    assert len(figures) == 2
    assert all(page.execute_script("return arguments[0].complete && arguments[0].naturalWidth > 0", x) for x in figures)
    assert all(x.get_attribute("alt") for x in figures)


@pytest.mark.parametrize("width", [1280, 400, 320])
def test_the_page_is_no_wider_than_the_window(page: Any, width: int) -> None:
    size(page, width)
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    tables = page.find_elements(By.CSS_SELECTOR, ".sheet .scroll")
    assert all(x.rect["x"] >= 0 and x.rect["x"] + x.rect["width"] <= width for x in tables)


def test_the_first_column_stays_while_a_table_scrolls(page: Any) -> None:
    size(page, 400)
    region = page.find_element(By.CSS_SELECTOR, "#table-accuracy-write_sum .scroll")
    head = region.find_element(By.CSS_SELECTOR, "tbody th")
    before = head.rect["x"]
    page.execute_script("arguments[0].scrollLeft = 200", region)
    assert page.execute_script("return arguments[0].scrollLeft", region) == 200
    assert abs(head.rect["x"] - before) <= 1


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` as in WCAG 2.2."""
    parts = [float(x) / 255 for x in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark(page: Any, scheme: str, tmp_path: Path) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) < 0.05) == (scheme == "dark")
    pairs = page.execute_script(
        """const back = (e) => { const c = getComputedStyle(e).backgroundColor;
             return c === 'rgba(0, 0, 0, 0)' && e.parentElement ? back(e.parentElement) : c; };
           return ['p', '.lead', '.caption', '.bracket', 'td', 'dt', '.note', '.badge', '.tag', '.chip', 'a', 'pre',
                   '.control', 'summary', '.hint', '.length']
             .flatMap((s) => [...document.querySelectorAll(s)].slice(0, 40))
             .map((e) => [e.className || e.tagName, getComputedStyle(e).color, back(e)]);"""
    )
    assert len(pairs) > 100
    for name, ink, ground in pairs:
        low, high = sorted((luminance(ink), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"{name}: {ink} on {ground}"
    assert page.save_screenshot(str(tmp_path / "page.png"))


def test_paper_shows_what_is_folded_and_hides_what_is_for_a_mouse(page: Any) -> None:
    page.find_element(By.CSS_SELECTOR, "#table-numbers input").send_keys("two")
    assert shown(page) == ["two"]
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script("return document.querySelectorAll('details:not([open])').length") == 0
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not any(x.is_displayed() for x in page.find_elements(By.CSS_SELECTOR, "nav, .tools, #chips"))
    assert page.find_element(By.CSS_SELECTOR, "#grid pre").is_displayed()
    assert all(x.is_displayed() for x in page.find_elements(By.CSS_SELECTOR, "#table-numbers tbody th"))
    regions = page.find_elements(By.CSS_SELECTOR, ".sheet .scroll")
    assert all(x.value_of_css_property("overflow") == "visible" for x in regions)
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert page.execute_script("return document.querySelectorAll('details:not([open])').length") > 0


def test_every_section_is_reached_from_the_navigation(page: Any) -> None:
    links = page.find_elements(By.CSS_SELECTOR, "nav a")
    assert [x.text for x in links] == [
        "Answer", "Tables", "Figures", "Samples", "Cost and detail", "Recipes", "Method", "Manifest",
    ]  # fmt: skip
    for link in links:
        target = page.find_element(By.CSS_SELECTOR, link.get_attribute("href").partition("#")[2].join(("#", "")))
        assert target.tag_name == "section"
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
