"""The site that `tox -e docs` built: every link leads somewhere, and nothing is fetched from anywhere."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from groupwise import algorithms
from groupwise.harness.cli import parser

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "docs"
PAGES = sorted(SITE.rglob("*.html"))
# What a browser loads by itself, as against what a reader may follow.
LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "embed": "src", "link": "href"}
FOLLOWED = {"canonical", "next", "prev", "index", "search"}  # of <link>: where a reader may go


class Page(HTMLParser):
    """The places a page has, those it leads to, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places, self.links, self.loads = {""}, list[str](), list[str]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = defaultdict(str, {key: value or "" for key, value in attrs})
        self.places |= {found["id"], found["name"]}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif LOADED.get(tag) in found and found["rel"] not in FOLLOWED:
            self.loads.append(found[LOADED[tag]])


@cache
def page(path: Path) -> Page:
    return Page(path)


def test_the_site_is_there() -> None:
    assert (SITE / "docs" / "index.html").is_file(), "build it first: tox -e docs"
    assert 'url=docs/index.html"' in (SITE / "index.html").read_text(encoding="utf-8")
    there = {path.relative_to(SITE).as_posix() for path in PAGES}
    for markdown in [*(ROOT / "docs").rglob("*.md"), ROOT / "results" / "README.md", ROOT / "CONTRIBUTING.md"]:
        assert markdown.relative_to(ROOT).with_suffix(".html").as_posix() in there
    assert {f"docs/algorithms/{name}.html" for name in algorithms.names()} <= there


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(SITE).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    lost = []
    for link in page(path).links:
        to = urlsplit(link)
        if to.scheme not in ("http", "https", "mailto"):
            target = (path.parent / unquote(to.path)).resolve() if to.path else path
            if not target.is_file() or not _has(target, unquote(to.fragment)):
                lost.append(link)
    assert lost == []


def _has(target: Path, place: str) -> bool:
    return target.suffix != ".html" or place in page(target).places


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(SITE).as_posix())
def test_nothing_is_fetched(path: Path) -> None:
    for address in page(path).loads:
        to = urlsplit(address)
        assert to.scheme in ("", "data"), address
        assert not to.netloc, address
        assert to.scheme == "data" or (path.parent / unquote(to.path)).is_file(), address


def test_styles_and_scripts_fetch_nothing_either() -> None:
    sheets = list(SITE.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", text), sheet


def test_every_command_has_its_section() -> None:
    text = (SITE / "docs" / "cli.html").read_text(encoding="utf-8")
    commands = {choice for action in parser()._actions for choice in action.choices or ()}
    assert commands
    assert [command for command in sorted(commands) if f"groupwise {command}" not in text] == []


def test_the_public_names_have_their_text() -> None:
    text = (SITE / "docs" / "api.html").read_text(encoding="utf-8")
    for name in (
        "algorithms.base.Algorithm.advantages", "algorithms.base.Algorithm._standardise",
        "algorithms.contract.Sampler.sample", "tasks.base.Problem", "verifiers.base.Verdict", "harness.run.run",
        "harness.compare.analysis.analyse", "harness.pytest_plugin.assert_no_regression",
        "harness.statistics.comparison.difference",
    ):  # fmt: skip
        assert f'id="groupwise.{name}"' in text, name
