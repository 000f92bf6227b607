"""``groupwise verify`` on the command line: its options, and what each form of it does."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.harness.errors import InputError

if TYPE_CHECKING:
    from groupwise.harness.verify.stored import Stored
    from groupwise.tasks.base import Problem, Task

SUBCOMMANDS = ("self-test", "audit", "negative-control", "sensitivity")
LISTED = 20  # disagreements, and failures of a task, where not all are asked for


def add_commands(commands: Any) -> None:
    """Add ``verify`` and its subcommands, whose names are two words (see ``joined``)."""
    verify = commands.add_parser(
        "verify",
        help="grade stored completions: groupwise verify FILE --task T",
        description="Grade stored completions: our own rollouts, lm-evaluation-harness samples_*.jsonl, TRL completion "
        "logs (parquet or JSON lines), or plain JSON lines with a completion and an id, a question or a reference. "
        f"Further forms, with a --help of their own: {', '.join(f'verify {name}' for name in SUBCOMMANDS)}; "
        "a file of such a name can be given as ./NAME.",
    )
    _files(verify)
    verify.add_argument("--verifier", help="grade with this verifier (default: the task's)")
    verify.add_argument("--by", action="append", default=[], metavar="FIELD", help="accuracy by a metadata field")
    verify.add_argument("--out", type=Path, help="write the verdicts there, one JSON line a completion")
    _common(verify)
    verify.set_defaults(handler=_verify)

    test = commands.add_parser(
        "verify self-test",
        help="every gold answer of every task must pass its own verifier",
        description="Grade every accepted answer, in each spelling its verifier has to accept, and every worked "
        "solution. Exit code 1 when one does not score 1, unless the task lists it as known to be bad.",
    )
    test.add_argument("--task", action="append", default=[], help="this task (may be repeated; default: all)")
    test.add_argument("--verifier", help="grade with this verifier (default: each task's)")
    _problems(test)
    test.set_defaults(handler=_self_test)

    audit = commands.add_parser(
        "verify audit",
        help="two verifiers on the same completions: where they differ, and who is right",
        description="Two verifiers on the same completions: the cross table and the disagreements; where the file has "
        "labels, the false negatives and false positives of each.",
    )
    _files(audit)
    audit.add_argument("--verifiers", required=True, metavar="A,B", help="the two verifiers")
    audit.add_argument("--all", action="store_true", help=f"list every disagreement, not only the first {LISTED}")
    _common(audit)
    audit.set_defaults(handler=_audit)

    moves = commands.add_parser(
        "verify sensitivity",
        help="a run's stored rollouts under several graders: how far scores and ranking move",
        description="Grade the stored final evaluations of a run again, by its own verifiers and others: accuracies, "
        "paired differences from the comparator and how far they shift, and whether the ranking stays.",
    )
    moves.add_argument("run", type=Path, metavar="RUN", help="the folder of a run or an evaluation, with its rollouts")
    moves.add_argument(
        "--graders", default="strict,loose", metavar="A,B",
        help="beside each task's own verifier: strict (only a marked answer counts), loose (wherever it stands), or "
        "names of verifiers, such as math_verify (default: strict,loose)",
    )  # fmt: skip
    moves.add_argument("--processes", type=_positive, help="how many to grade in (default: one a core)")
    moves.add_argument("--json", action="store_true")
    moves.add_argument("--figure", type=Path, metavar="FILE", help="draw the accuracies there, a panel per task: .png, "
                       ".svg or .pdf")  # fmt: skip
    moves.set_defaults(handler=_sensitivity)

    control = commands.add_parser(
        "verify negative-control",
        help="junk must score 0: empty, constant and shuffled answers, and those of other problems",
        description="Grade completions that answer nothing: an empty text, fixed texts, shuffled gold completions, and "
        "those of other problems. Exit code 1 when more than --most of them score 1.",
    )
    control.add_argument("--task", action="append", default=[], help="this task (may be repeated; default: all)")
    control.add_argument("--verifier", help="grade with this verifier (default: each task's)")
    control.add_argument("--most", type=float, help="the share that may score 1 (default: 0.05)")
    _problems(control)
    control.set_defaults(handler=_negative_control)


def joined(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``verify audit`` and its like as one word, as the parser knows them."""
    if len(arguments) > 1 and arguments[0] == "verify" and arguments[1] in SUBCOMMANDS:
        return [f"verify {arguments[1]}", *arguments[2:]]
    return list(arguments)


def _files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".jsonl, .jsonl.gz or .parquet")
    parser.add_argument("--task", help="the completions answer the problems of this task; needed where the rows "
                        "have no reference of their own")  # fmt: skip
    parser.add_argument("--label", metavar="FIELD", help="the field with the right score (default: label, else score)")


def _problems(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=_positive, help="at most so many problems of a task, evenly spread")
    _common(parser)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="an option of the task")
    parser.add_argument("--split", help="of the task (default: test)")
    parser.add_argument("--data-dir", type=Path, help="folder with benchmark data (default: $GROUPWISE_DATA)")
    parser.add_argument("--processes", type=_positive, help="how many to grade in (default: one a core)")
    parser.add_argument("--json", action="store_true")


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return number


def parse_options(pairs: Sequence[str], name: str = "--option", example: str = "shots=4") -> dict[str, Any]:
    """``KEY=VALUE`` pairs; a value is read as JSON, or taken as a string. Raises InputError."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise InputError(f"{name} {pair}: expected key=value, as in {example}")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def _verify(options: argparse.Namespace) -> int:
    from groupwise.harness.verify import printing
    from groupwise.harness.verify.stored import check_verifier, describe_verifier, verify

    stored, described, own = _stored(options)
    verifier = options.verifier or own
    if verifier is None:
        raise InputError("verify: expected --task, or --verifier for rows with references of their own")
    if options.out is not None and os.path.realpath(options.out) in map(os.path.realpath, options.files):
        raise InputError(f"--out {options.out}: is also an input")
    check_verifier(verifier)
    summary = {
        "files": [str(path) for path in options.files],
        "task": described,
        "verifier": describe_verifier(verifier),
        **verify(stored, verifier, options.out, options.by, options.processes),
    }
    _print(summary, printing.graded, options.json)
    return 0


def _audit(options: argparse.Namespace) -> int:
    from groupwise.harness.verify import printing
    from groupwise.harness.verify.audit import audit
    from groupwise.harness.verify.stored import check_verifier

    names = options.verifiers.split(",")
    if len(names) != 2 or names[0] == names[1]:
        raise InputError(f"--verifiers {options.verifiers}: expected two different verifiers, as in numeric,math")
    first, second = map(check_verifier, names)
    stored, described, _ = _stored(options)
    most = None if options.all else LISTED
    found = audit(stored, first, second, options.processes, most)
    _print({"files": [str(path) for path in options.files], "task": described, **found}, printing.audited, options.json)
    return 0


def _sensitivity(options: argparse.Namespace) -> int:
    from groupwise.harness.verify import printing
    from groupwise.harness.verify.sensitivity import COMPONENTS, OWN, sensitivity
    from groupwise.harness.verify.stored import check_verifier

    names = options.graders.split(",")
    if len(set(names)) < len(names) or OWN in names:
        raise InputError(f"--graders {options.graders}: expected different graders, as in strict,loose,math_verify")
    for name in names:
        if name not in COMPONENTS:
            check_verifier(name)
    if options.figure is not None:
        from groupwise.harness.compare.figure import check_place

        check_place(options.figure)
    found = sensitivity(options.run, names, options.processes)
    if options.figure is not None:
        from groupwise.harness.verify.figure import draw_sensitivity

        draw_sensitivity(found, options.figure)
    _print(found, printing.moved, options.json)
    return 0


def _stored(options: argparse.Namespace) -> tuple[Stored, dict[str, Any] | None, str | None]:
    """The completions that the options name; the task as JSON and its verifier, None without a task."""
    from groupwise.harness.verify.align import Index
    from groupwise.harness.verify.stored import Stored, default_split, describe_task, make_task, problems_of

    if options.task is None:
        for name in ("option", "split"):
            if getattr(options, name):
                raise InputError(f"--{name}: expected together with --task")
        return Stored(options.files, None, options.label), None, None
    task = make_task(options.task, parse_options(options.option))
    problems = problems_of(task, options.split, options.data_dir)
    described = describe_task(task, options.split or default_split(task))
    return Stored(options.files, Index(problems), options.label), described, task.verifier


def _self_test(options: argparse.Namespace) -> int:
    from groupwise.harness.verify import printing
    from groupwise.harness.verify.selftest import self_test

    results = [
        self_test(task, problems, options.verifier or task.verifier, options.processes) if problems is not None else gap
        for task, problems, gap in _chosen(options)
    ]
    _print({"tasks": results}, printing.self_tested, options.json)
    return _code(results)


def _negative_control(options: argparse.Namespace) -> int:
    from groupwise.harness.verify import printing
    from groupwise.harness.verify.control import MOST, negative_control

    most = MOST if options.most is None else options.most
    results = [
        negative_control(task, problems, options.verifier or task.verifier, options.processes, most)
        if problems is not None
        else gap
        for task, problems, gap in _chosen(options)
    ]
    _print({"tasks": results}, printing.controlled, options.json)
    return _code(results)


def _chosen(options: argparse.Namespace) -> list[tuple[Task, list[Problem] | None, dict[str, Any]]]:
    """The tasks asked for with their problems; None and the reason for those without data that were not named."""
    from groupwise import tasks
    from groupwise.harness.verify.stored import check_verifier, default_split, make_task, problems_of

    if options.option and len(options.task) != 1:
        raise InputError("--option: expected together with one --task")
    chosen: list[tuple[Task, list[Problem] | None, dict[str, Any]]] = []
    for name in options.task or tasks.names():
        task = make_task(name, parse_options(options.option))
        check_verifier(options.verifier or task.verifier)
        if not options.task and options.split and options.split not in task.splits:
            chosen.append((task, None, {"task": name, "status": "no such split", "reason": f"has {task.splits}"}))
            continue
        try:
            problems = problems_of(task, options.split or default_split(task), options.data_dir)
        except InputError as error:
            if options.task:
                raise
            chosen.append((task, None, {"task": name, "status": "no data", "reason": str(error)}))
            continue
        step = max(1.0, len(problems) / (options.limit or len(problems) or 1))
        chosen.append((task, [problems[int(i * step)] for i in range(int(len(problems) / step))], {}))
    return chosen


def _code(results: Sequence[dict[str, Any]]) -> int:
    """1 when a task failed, or none could be tested at all."""
    statuses = {result["status"] for result in results}
    return int("failed" in statuses or "passed" not in statuses)


def _print(data: dict[str, Any], lines: Any, as_json: bool) -> None:
    print(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) if as_json else "\n".join(lines(data)))
