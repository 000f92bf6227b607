"""How the site is made from the repository: `tox -e docs`.

The source folder is the repository, so every page is the Markdown file that is read there, its links lead to the same
files, and one that leads nowhere is a warning, which the build takes for an error. Nothing is fetched while it is
built, and nothing when it is read.
"""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from itertools import groupby
from textwrap import dedent, indent
from typing import Any

project = "Groupwise"
release = version = version_of("groupwise")
copyright = "the contributors to Groupwise"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_argparse_cli"]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "CONTRIBUTING.md",
    "results/*.md",
    "results/*/report/report.md",
    "tests/benchmarks/README.md",
    "tests/verifiers/*/README.md",
    "tests/oracles/README.md",
]
exclude_patterns = [".*", "build", "dist", "runs"]

myst_heading_anchors = 3
highlight_language = "none"  # of indented blocks: commands

html_theme = "furo"
html_title = "Groupwise"
html_extra_path = ["extra"]  # index.html, which leads to the start page
html_copy_source = False
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True


# Pages that belong below another one, which is generated or read elsewhere and so cannot name them itself.
BELOW = {
    "docs/algorithms/README": ("[a-z]*",),
    "results/README": ("[a-z]*", "*/report/report"),
    "tests/benchmarks/README": ("/tests/oracles/README", "/tests/verifiers/*/README"),
}


def setup(app: Any) -> None:
    app.connect("source-read", _with_pages_below)
    app.connect("autodoc-process-docstring", _as_markup)


def _with_pages_below(app: Any, page: str, source: list[str]) -> None:
    if page in BELOW:
        source[0] += "\n\n```{toctree}\n:hidden:\n:glob:\n\n" + "\n".join(BELOW[page]) + "\n```\n"


def _as_markup(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Our docstrings are plain text: indented parts are formulas or code, and only ``code`` is marked."""
    made: list[str] = []
    for indented, part in groupby(dedent("\n".join(lines)).split("\n"), key=lambda line: line.startswith("  ")):
        text = "\n".join(part)
        if indented and not (made and made[-1].lstrip().startswith("- ")):
            made += ["", "::", "", *indent(dedent(text), "    ").split("\n"), ""]
        else:
            made += _escaped(text).split("\n")
    lines[:] = made


def _escaped(text: str) -> str:
    """Everything but the words between double backticks, without a meaning to reStructuredText."""
    parts = re.split(r"(``.+?``)", text, flags=re.DOTALL)
    plain = [re.sub(r"`(.+?)`", r"``\1``", re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", part)) for part in parts[::2]]
    plain[1:] = [re.sub(r"^(?=\w)", r"\\ ", part) for part in plain[1:]]  # the s of ``Request``s
    return "".join(before + code for before, code in zip(plain, [*parts[1::2], ""], strict=True))
