"""The sub-command ``gate``. Imports what it needs when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.harness.errors import InputError

if TYPE_CHECKING:
    from groupwise.harness.gate.checks import Outcome

DESCRIPTION = """Hold results against a recorded baseline, problem by problem, and say for every metric: pass (shown to
be no worse than the tolerance allows), regression (a significant loss), or inconclusive (neither could be shown).
Exit code 0 when everything passes, 1 with a regression, 3 when something is inconclusive, 2 for bad input."""


def add_command(commands: Any) -> None:
    """Add ``gate``."""
    gate = commands.add_parser(
        "gate", help="fail when scores regressed against a recorded baseline", description=DESCRIPTION
    )
    gate.add_argument("results", help="a run folder or RUN:LABEL, sample logs of lm-evaluation-harness, JSON lines or "
                      "parquet with a score, or stored scores")  # fmt: skip
    gate.add_argument("--baseline", type=Path, metavar="FILE", help="the recorded baseline (default: "
                      "results/baselines/NAME.json)")  # fmt: skip
    gate.add_argument("--record", action="store_true", help="record these results, with the rule, as the baseline")
    gate.add_argument("--force", action="store_true", help="with --record: replace the baseline there is")
    gate.add_argument("--label", action="append", default=[], metavar="LABEL", help="of a run: this optimizer (may be "
                      "repeated; default: all of the baseline)")  # fmt: skip
    gate.add_argument("--task", action="append", default=[], metavar="TASK", help="this task (may be repeated; "
                      "default: all of the baseline)")  # fmt: skip
    gate.add_argument("--metric", action="append", default=[], metavar="METRIC", help="accuracy, pass@K, pass^K, "
                      "tokens, truncated, unscored, unparsed (may be repeated; default: the baseline's, else "
                      "accuracy)")  # fmt: skip
    gate.add_argument("--tolerance", action="append", default=[], metavar="[METRIC=]SHARE", help="the loss that is "
                      "acceptable, 0.02 being two points (default: the baseline's, else 0.02); of tokens, the drift as "
                      "a share of the recorded mean (else 0.1)")  # fmt: skip
    gate.add_argument("--alpha", type=float, help="of every one-sided test (default: the baseline's, else 0.05)")
    gate.add_argument("--correction", choices=["holm", "bh", "none"], help="for the number of checks (default: the "
                      "baseline's, else holm)")  # fmt: skip
    gate.add_argument("--common", action="store_true", help="compare the problems and seeds that both sides have, "
                      "where they differ")  # fmt: skip
    gate.add_argument("--strict", action="store_true", help="what is inconclusive is a failure in the JUnit file")
    gate.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML, one test case for each check")
    gate.add_argument("--markdown", type=Path, metavar="FILE", help="append a summary, as to $GITHUB_STEP_SUMMARY")
    gate.add_argument("--json", action="store_true", help="print everything as JSON")
    gate.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Returns the exit code. Raises InputError."""
    from groupwise.harness.gate.run import Wish, gate

    wish = Wish(
        options.baseline,
        options.label,
        options.task,
        options.metric,
        options.tolerance,
        options.alpha,
        options.correction,
        options.common,
    )
    if options.record:
        return _record(options, wish)
    if options.force:
        raise InputError("--force: expected together with --record")
    outcome = gate(options.results, wish)
    _write(options, outcome)
    return outcome.code


def _record(options: argparse.Namespace, wish: Any) -> int:
    import json

    from groupwise.harness.errors import printable
    from groupwise.harness.gate.run import record_baseline

    for name in ("junit", "markdown", "strict", "common"):
        if getattr(options, name):
            raise InputError(f"--{name}: expected without --record")
    path, labels, policy = record_baseline(options.results, wish, force=options.force)
    if options.json:
        print(json.dumps({"baseline": str(path), "labels": labels, "policy": policy.to_dict()}, indent=1))
    else:
        rule = ", ".join(f"{name} {value:g}" for name, value in policy.to_dict()["tolerances"].items())
        said = f"baseline: {path}: {', '.join(labels)}; tolerance {rule}; alpha {policy.alpha:g}; {policy.correction}"
        print(printable(said))
    return 0


def _write(options: argparse.Namespace, outcome: Outcome) -> None:
    """What was asked for, on paper and on the terminal."""
    import json

    from groupwise.harness.gate.junit import junit
    from groupwise.harness.gate.wording import lines, markdown
    from groupwise.harness.jsontext import finite
    from groupwise.harness.records import write_text

    try:
        if options.junit:
            options.junit.parent.mkdir(parents=True, exist_ok=True)
            write_text(options.junit, junit(outcome, options.strict))
        if options.markdown:
            options.markdown.parent.mkdir(parents=True, exist_ok=True)
            with options.markdown.open("a", encoding="utf-8") as file:
                file.write(markdown(outcome))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}") from None
    print(json.dumps(finite(outcome.to_dict()), indent=1, ensure_ascii=False, allow_nan=False)
          if options.json else "\n".join(lines(outcome)))  # fmt: skip
