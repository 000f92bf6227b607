"""``groupwise init``: a commented experiment file, and an optimizer of one's own as a package to install."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from groupwise.harness.errors import InputError

FILES = ("experiment.toml", "my_algorithm.py", "pyproject.toml", "test_my_algorithm.py")


def add_command(commands: Any) -> None:
    """Add ``init``."""
    init = commands.add_parser(
        "init",
        help="a folder to start from: a commented experiment, and an optimizer of your own",
        description="Writes an experiment file in which every section is explained, ready to run on the embedded model,"
        " and an optimizer of your own as a small package with its test. Nothing is written over.",
    )
    init.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: this folder")
    init.add_argument("--json", action="store_true", help="print what was written as JSON")
    init.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Write the files and say what to do next. Raises InputError; nothing is left behind then."""
    folder: Path = options.folder
    write(folder)
    following = [
        f"groupwise run {folder / 'experiment.toml'}",
        f"pip install --no-deps -e {folder}",
        f"groupwise run {folder / 'experiment.toml'} --set algorithms.my_algorithm={{}} --out runs/with-mine",
    ]
    if options.json:
        print(json.dumps({"folder": str(folder), "files": list(FILES), "next": following}, indent=1))
    else:
        print(f"{folder}: {', '.join(FILES)}")
        print("next:", *following, sep="\n    ")
    return 0


def write(folder: Path) -> None:
    """Put the files into the folder, which is made if it is not there. Raises InputError, and leaves things as they
    were, when one of them is there already or cannot be written."""
    skeleton = resources.files("groupwise.harness.init") / "skeleton"
    made: list[Path] = []
    with _undone(made):
        for place in reversed([folder, *folder.parents]):
            if not place.exists():
                place.mkdir()
                made.append(place)
        for name in FILES:
            with (folder / name).open("x", encoding="utf-8", newline="\n") as file:
                made.append(folder / name)
                file.write((skeleton / name).read_text(encoding="utf-8"))


@contextmanager
def _undone(made: list[Path]) -> Iterator[None]:
    """What was made is removed again when something fails."""
    try:
        yield
    except OSError as error:
        # A full disk says so of no file: it was the one written last.
        place = error.filename or (made[-1] if made else "the folder")
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        if isinstance(error, FileExistsError):
            raise InputError(f"{error.filename}: exists already; expected a folder without it") from None
        raise InputError(f"{place}: cannot be written: {error.strerror}") from None
