"""The command line. Imports what a command needs when it runs, so that ``--help`` is quick and torch-free."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from groupwise.harness.compare import command as compare
from groupwise.harness.diversity import command as diversity
from groupwise.harness.errors import InputError, one_line
from groupwise.harness.evaluation import command as evaluation
from groupwise.harness.gate import command as gate
from groupwise.harness.init import command as init
from groupwise.harness.plan import command as plan
from groupwise.harness.verify import commands as verify
from groupwise.harness.version import installed_version
from groupwise.verifiers.base import Unavailable

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


class _Version(argparse.Action):
    """argparse's own `version` takes a text that is there at every start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"groupwise {installed_version()}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="groupwise",
        description="Which group-based RL optimizer makes a language model reason better, given the same rollouts, "
        "and is the difference real?",
    )
    top.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="train and evaluate every cell (algorithm x seed), then report")
    run.add_argument("experiment", help="a TOML file, or a shipped experiment (see `groupwise experiments`)")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one key, e.g. seeds=[0]; "
                     "the value is JSON or TOML, or else a text")  # fmt: skip
    run.add_argument("--out", type=Path, help="the run folder (default: runs/NAME)")
    run.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    run.add_argument("--data-dir", type=Path, help="folder with benchmark data (default: $GROUPWISE_DATA)")
    run.add_argument("--executor", choices=["local", "ray"], default="local", help="where: processes here, or Ray")
    run.add_argument("--ray-address", metavar="ADDRESS", help="HOST:PORT of a Ray head, from one of the cluster's "
                     "nodes (default: $RAY_ADDRESS, or a cluster on this machine for this run)")  # fmt: skip
    run.add_argument("--json", action="store_true", help="print every number of the report instead of its tables")
    run.set_defaults(handler=_run)

    report = commands.add_parser("report", help="write the report of a run again, and print it")
    report.add_argument("run", type=Path, nargs="+", metavar="RUN", help="a run folder")
    report.add_argument("--all", action="store_true", help="print all tables, not those of the accuracy alone")
    report.add_argument("--json", action="store_true", help="print every number of the report instead")
    report.set_defaults(handler=_report)

    evaluation.add_command(commands)
    diversity.add_command(commands)
    compare.add_command(commands)
    gate.add_command(commands)
    plan.add_command(commands)
    init.add_command(commands)
    verify.add_commands(commands)

    for name, words in (
        ("algorithms", "the optimizers"),
        ("tasks", "the tasks"),
        ("verifiers", "the verifiers"),
    ):
        listing = commands.add_parser(name, help=f"{words} there are; `{name} show NAME` for one")
        listing.add_argument("action", nargs="?", choices=["show"])
        listing.add_argument("name", nargs="?")
        listing.add_argument("--json", action="store_true")
        if name != "verifiers":
            example = "kl_coef=0.04" if name == "algorithms" else "seed=3"
            listing.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="with `show`: one "
                                 f"of its options, e.g. {example}")  # fmt: skip
        listing.set_defaults(handler=_listing)

    shipped = commands.add_parser("experiments", help="the experiments there are")
    shipped.add_argument("--json", action="store_true")
    shipped.set_defaults(handler=_experiments)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code: 0 done, 1 the answer is no (a regression, a failed cell or grader),
    2 bad input, 3 inconclusive."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name, or a terminal, may know fewer characters than we do
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(verify.joined(sys.argv[1:] if arguments is None else arguments))
    try:
        handler: Any = options.handler
        code: int = handler(options)
        return code
    except (InputError, Unavailable) as error:
        # A name from somebody's file may hold what moves the cursor or hides text.
        print(f"groupwise: {one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        goes_on = "; the same command with --resume goes on from here" if options.command == "run" else ""
        print(f"groupwise: interrupted{goes_on}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a name too long: where no command has better words for it
        place = "" if error.filename is None else f"{error.filename}: "
        print(f"groupwise: {one_line(place + (error.strerror or str(error)))}", file=sys.stderr)
        return BAD_INPUT


def _run(options: argparse.Namespace) -> int:
    from groupwise.harness.run import RunFailed, run

    try:
        folder = run(
            options.experiment, options.set, options.out, options.resume, options.data_dir, options.executor,
            options.ray_address,
        )  # fmt: skip
    except RunFailed as error:
        print(f"groupwise: {one_line(error)}", file=sys.stderr)
        return FAILED
    from groupwise.harness.report.write import print_report, written_summary  # slow, and bad input is told before it

    if options.json:
        print(json.dumps(written_summary(folder), indent=1, ensure_ascii=False))
        return 0
    print_report(folder)
    print(f"report: {folder / 'report' / 'index.html'}, {folder / 'report' / 'report.md'}")
    print(f"next: `groupwise compare {folder}` tests any two of its optimizers, `groupwise gate {folder} --record "
          "--baseline FILE` keeps its scores to hold later runs against")  # fmt: skip
    return 0


def _report(options: argparse.Namespace) -> int:
    from groupwise.harness.report.write import print_report, write_report, written_summary

    for run in options.run:
        if not (run / "manifest.json").is_file():
            raise InputError(f"{run}: expected a run folder with a manifest.json")
        if (run / "report").is_dir() and not any((run / part).is_dir() for part in ("cells", "evaluations")):
            words = "its records (cells/, evaluations/) are not here, and without them its report would be lost"
            raise InputError(f"{run}: {words}; expected a run folder with records")
    summaries = []
    for run in options.run:
        try:
            folder = write_report(run)
            summaries.append(written_summary(run)) if options.json else print_report(run, every=options.all)
        except ValueError as error:
            raise InputError(str(error)) from error
        if not options.json:
            print(f"report: {folder / 'index.html'}, {folder / 'report.md'}")
    if options.json:
        print(json.dumps(summaries if len(summaries) > 1 else summaries[0], indent=1, ensure_ascii=False))
    return 0


def _experiments(options: argparse.Namespace) -> int:
    import tomllib

    from groupwise.harness import listing
    from groupwise.harness.experiment import shipped_experiments

    rows = {name: tomllib.loads(text)["description"] for name, text in shipped_experiments().items()}
    _print(rows, options.json, listing.lines(rows))
    return 0


def _listing(options: argparse.Namespace) -> int:
    """``algorithms``, ``tasks`` and ``verifiers``: all of them, or one."""
    from groupwise.harness import listing

    kind, name, pairs = options.command, options.name, getattr(options, "option", [])
    if options.action and not name:
        raise InputError(f"{kind} show: expected a name")
    if pairs and not name:
        raise InputError(f"{kind} --option: expected `show NAME` with it")
    try:
        data = listing.show(kind, name, verify.parse_options(pairs)) if name else listing.summaries(kind)
    except ValueError as error:
        raise InputError(f"{kind} show {name}: {error}") from error
    _print(data, options.json, listing.text(kind, data, one=bool(name)))
    return 0


def _print(data: Mapping[str, Any], as_json: bool, text: Iterable[str]) -> None:
    """The data itself, or the lines that say it."""
    print(json.dumps(data, indent=1, ensure_ascii=False) if as_json else "\n".join(text))


if __name__ == "__main__":
    sys.exit(main())
