"""What the pages say: their commands, their code, and the options of the real parser to hold them against."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "results" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "learning").glob("*.md")),
    *sorted((ROOT / "docs" / "statistics").glob("*.md")),
    *sorted((ROOT / "docs" / "algorithms").glob("*.md")),
]
SHELLS = ("", "shell", "console", "bash", "sh")
PROGRAMS = ("groupwise", "python", "python3", "pip", "tox", "sh")
# The README's overview of all commands, with [brackets] around what may be left out: parsed, not run.
SYNOPSIS = "## What a run does"


@dataclass(frozen=True)
class Block:
    """A block of code: its language ("" where none is named), its text, the heading that it stands under."""

    language: str
    text: str
    heading: str


def name(page: Path) -> str:
    """The page as the other files name it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """The fenced and the indented blocks of a page, in order."""
    heading, before, language, held = "", "", "", list[str]()
    fenced = False
    for line in [*page.read_text(encoding="utf-8").splitlines(), "end"]:
        fence = line.startswith("```")
        if fenced and not fence:
            held.append(line)
        elif not fenced and (line.startswith("    ") and (held or not before)):
            held.append(line[4:])
        elif not fenced and held and not line:
            held.append("")
        else:
            if held:
                yield Block(language, "\n".join(held), heading)
            held, fenced = [], fence and not fenced
            language = line.strip("`").strip() if fenced else ""
            heading = line if line.startswith("#") else heading
        before = line


def commands(page: Path) -> list[str]:
    """The commands of the page's blocks that start one of ``PROGRAMS``, without comments, continued lines joined."""
    return [text for block, text in _told(page) if block.heading != SYNOPSIS]


def synopses(page: Path) -> list[str]:
    """The lines of the overview."""
    return [text for block, text in _told(page) if block.heading == SYNOPSIS]


def _told(page: Path) -> Iterator[tuple[Block, str]]:
    for block in blocks(page):
        if block.language in SHELLS:
            for line in re.sub(r"\s*\\\n\s*", " ", block.text).splitlines():
                text = re.split(r"\s{2,}|\s#\s", line.strip())[0]  # what follows is a comment
                if text and program(text) in PROGRAMS:
                    yield block, text


def inline(page: Path) -> list[str]:
    """The commands in running text, between backticks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    return [code for code in found if " " in code and program(code) in PROGRAMS]


def program(command: str) -> str:
    """What a command line starts, without the folder of its environment."""
    return command.split()[0].rpartition("/bin/")[2]


def groupwise_calls(command: str) -> list[list[str]]:
    """The arguments of every `groupwise` in a line, which may chain several commands; what stands in [brackets] of its
    own counts as given."""
    calls = []
    for part in re.split(r"\s+(?:&&|\|\|)\s+", command):
        words = shlex.split(re.sub(r"(?<= )\[([^\]]*)\]", r"\1", part))
        if words and words[0].rpartition("/bin/")[2] == "groupwise":
            calls.append(words[1:])
    return calls
