"""`groupwise compare A B`: the options, and where the answer goes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_command(commands: Any) -> None:
    """Add `compare` to the command line."""
    compare = commands.add_parser(
        "compare",
        help="is A better than B? two runs, optimizers, lm-eval logs or files of scores, problem by problem",
        description="Compares two sets of scores, paired by problem (and by training seed), and says what is "
        "established. With one argument, a run: every label against the comparator. Exit code 0, or 2 for what "
        "cannot be paired.",
    )
    source = "PATH or PATH:LABEL"
    compare.add_argument("first", metavar="A", help=f"{source}: a run folder, committed results, a scores document, "
                         "lm-eval sample logs (:FILTER/METRIC), JSON lines or parquet (:FIELD)")  # fmt: skip
    compare.add_argument("second", metavar="B", nargs="?", help="the same; differences are A minus B")
    compare.add_argument("--task", action="append", default=[], metavar="T", help="only this task; again for more")
    compare.add_argument("--metric", action="append", default=[], metavar="M",
                         help="accuracy (the default), pass@K, pass^K, tokens, truncated, unscored or unparsed; "
                         "again for more")  # fmt: skip
    compare.add_argument("--margin", type=float, metavar="D", help="test whether they differ by less than D, for "
                         "shares, e.g. 0.02")  # fmt: skip
    compare.add_argument("--correction", choices=("holm", "bh"), default="holm",
                         help="over all tests printed: Holm (family-wise errors) or Benjamini-Hochberg "
                         "(false discovery rate)")  # fmt: skip
    compare.add_argument("--json", action="store_true", help="print everything as JSON")
    compare.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables and sentences there")
    compare.add_argument("--csv", type=Path, metavar="FILE", help="write one row per comparison there")
    compare.set_defaults(handler=run)

    rankings = commands.add_parser(
        "rankings",
        help="several runs of the same optimizers, at other budgets or settings: does the ranking stay?",
        description="Sets runs with the same labels side by side: each label's difference from the comparator in every "
        "run, and how the rankings agree with that of the first (Kendall's tau).",
    )
    rankings.add_argument("runs", nargs="+", metavar="RUN", help="a run folder, or committed results")
    rankings.add_argument("--metric", default="accuracy", metavar="M", help="as in compare (default: accuracy)")
    rankings.add_argument("--task", action="append", default=[], metavar="T", help="only this task; again for more")
    rankings.add_argument("--json", action="store_true", help="print everything as JSON")
    rankings.add_argument("--figure", type=Path, metavar="FILE", help="draw the differences there, a panel per task: "
                          ".png, .svg or .pdf")  # fmt: skip
    rankings.set_defaults(handler=run_rankings)


def run(options: argparse.Namespace) -> int:
    """Compare, print, and write what was asked for. Raises InputError; nothing is written then."""
    import json

    from rich.console import Console

    from groupwise.harness.compare.analysis import analyse, to_dict
    from groupwise.harness.compare.printing import csv_text, markdown, terminal
    from groupwise.harness.compare.sides import contests
    from groupwise.harness.errors import InputError

    if options.margin is not None and not 0 < options.margin < 1:
        raise InputError(f"--margin: expected a share between 0 and 1, e.g. 0.02, got {options.margin:g}")
    metrics = tuple(dict.fromkeys(options.metric)) or ("accuracy",)
    found = analyse(
        contests(options.first, options.second, tuple(options.task), metrics),
        margin=options.margin, correction=options.correction,
    )  # fmt: skip
    data = to_dict(found)
    for path, text in ((options.markdown, markdown), (options.csv, csv_text)):
        if path is not None:
            try:
                path.write_text(text(data), encoding="utf-8", newline="\n")
            except OSError as error:
                raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    if options.json:
        print(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        terminal(data, Console())
    return 0


def run_rankings(options: argparse.Namespace) -> int:
    """Print the rankings, and draw them where that was asked for. Raises InputError."""
    import json

    from groupwise.harness.compare.rankings import markdown, rankings

    if options.figure is not None:
        from groupwise.harness.compare.figure import check_place

        check_place(options.figure)
    data = rankings(options.runs, options.metric, options.task)
    if options.figure is not None:
        from groupwise.harness.compare.figure import draw_rankings

        draw_rankings(data, options.figure)
    if options.json:
        print(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print("\n".join(markdown(data)))
    return 0
