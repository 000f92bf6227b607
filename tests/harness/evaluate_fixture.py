"""`groupwise evaluate` for its tests: in this process, and as a process of its own that can be killed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from groupwise.harness.errors import InputError
from groupwise.harness.evaluation.command import add_command

BAD_INPUT = 2


def evaluate(*arguments: object) -> int:
    """The exit code; bad input is raised as InputError, for its message."""
    options = parsed(*arguments)
    handler: Any = options.handler
    code: int = handler(options)
    return code


def parsed(*arguments: object) -> argparse.Namespace:
    """The options as the command gets them."""
    top = argparse.ArgumentParser()
    add_command(top.add_subparsers(dest="command"))
    return top.parse_args(["evaluate", *map(str, arguments)])


def records(folder: Path) -> dict[str, bytes]:
    """Every file of an evaluation that does not hold times, by its place in the folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "timings.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


if __name__ == "__main__":
    try:
        sys.exit(evaluate(*sys.argv[1:]))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(BAD_INPUT)
