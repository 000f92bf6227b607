"""`groupwise evaluate`: the options, and where the answer goes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

ENGINES = ("transformers", "vllm", "openai", "replay")


def add_command(commands: Any) -> None:
    """Add `evaluate` to the command line."""
    evaluate = commands.add_parser(
        "evaluate",
        help="any models on any tasks: n samples of each problem, graded, stored and reported",
        description="Samples, grades, stores and reports. Every rollout is stored as soon as it is finished and none "
        "is generated twice: an interrupted command goes on when it is given again, and one with more samples or "
        "tasks generates what is missing. Exit code 0, 2 for bad input, 1 when an engine gave up on the way.",
    )
    what = evaluate.add_argument_group("what")
    what.add_argument("--model", action="append", default=[], metavar="[NAME=]M", help="embedded, a folder (of a model "
                      "or of a LoRA adapter), a hub id; a name at the endpoint with --engine openai; stored rollouts "
                      "with --engine replay. Again for more; NAME is its row in the report")  # fmt: skip
    what.add_argument("--task", action="append", default=[], metavar="T[:SPLIT]", help="a task (see `groupwise "
                      "tasks`), its test split by default; again for more")  # fmt: skip
    what.add_argument("--problems", type=int, metavar="N", help="only the first N problems of each task")
    what.add_argument("--option", action="append", default=[], metavar="[T.]KEY=VALUE", help="an option of the tasks, "
                      "or of task T alone, e.g. shots=4")  # fmt: skip
    what.add_argument("--rescore", type=Path, metavar="RUN", help="grade the stored evaluations of a run or an "
                      "evaluation again with the verifiers as they are now; needs no model")  # fmt: skip
    how = evaluate.add_argument_group("how completions are drawn (absent: as each task says)")
    how.add_argument("--samples", type=int, metavar="N", help="completions of each problem")
    how.add_argument("--seed", type=int, default=0, metavar="S", help="of the sampling (default: 0)")
    how.add_argument("--temperature", type=float, metavar="T", help="0: the likeliest token")
    how.add_argument("--top-p", type=float, default=1.0, metavar="P", help="default: 1, all tokens")
    how.add_argument("--max-new-tokens", type=int, metavar="L", help="most tokens of a completion")
    how.add_argument("--prompt", choices=("chat", "plain"), help="through the model's chat template, "
                     "(default) or as text to be continued, for base models")  # fmt: skip
    how.add_argument("--k", type=int, action="append", metavar="K", help="report pass@K; again for more (default: 1 "
                     "and the number of samples)")  # fmt: skip
    where = evaluate.add_argument_group("where they come from")
    where.add_argument("--engine", choices=ENGINES, default="transformers", help="default: transformers")
    where.add_argument("--adapter", type=Path, metavar="DIR", help="a LoRA adapter (peft) on the one --model")
    where.add_argument("--revision", metavar="R", help="of a model on the hub")
    where.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of matrix products")
    where.add_argument("--device", default="cpu", metavar="D", help="cpu (default), cuda or cuda:N")
    where.add_argument("--threads", type=int, default=cores(), metavar="N", help="of the model, and processes of the "
                       "graders (default: all cores)")  # fmt: skip
    where.add_argument("--rows", type=int, default=128, metavar="N", help="rollouts decoded side by side "
                       "(default: 128)")  # fmt: skip
    where.add_argument("--cache-gib", type=float, default=1.0, metavar="G", help="memory of vLLM's key-value cache "
                       "(default: 1)")  # fmt: skip
    url = evaluate.add_argument_group("endpoints (--engine openai)")
    url.add_argument("--base-url", metavar="URL", help="e.g. http://127.0.0.1:8000/v1")
    url.add_argument("--api", choices=("chat", "completions"), help="which call; completions goes with --prompt plain")
    url.add_argument("--concurrency", type=int, default=16, metavar="N", help="requests at a time (default: 16)")
    url.add_argument("--timeout", type=float, default=600.0, metavar="S", help="seconds for one answer (default: 600)")
    url.add_argument("--requests-per-minute", type=float, metavar="N", help="a limit to keep")
    url.add_argument("--tokens-per-minute", type=float, metavar="N", help="a limit to keep, prompts and completions")
    url.add_argument("--api-key-env", metavar="NAME", help="the variable with the key (default: GROUPWISE_API_KEY, "
                     "else OPENAI_API_KEY); the key is written nowhere")  # fmt: skip
    url.add_argument(
        "--body", action="append", default=[], metavar="KEY=VALUE", help="a further field of every request"
    )
    place = evaluate.add_argument_group("where things are")
    place.add_argument("--out", type=Path, metavar="DIR", help="the folder of records and report (default: "
                       "runs/evaluate-MODELS-TASKS-HASH; of --rescore: RUN-rescored)")  # fmt: skip
    place.add_argument("--store", type=Path, metavar="DIR", help="the store of rollouts (default: rollouts in "
                       "$GROUPWISE_CACHE or the user's cache)")  # fmt: skip
    place.add_argument("--data-dir", type=Path, metavar="DIR", help="benchmark data (default: $GROUPWISE_DATA)")
    evaluate.add_argument("--json", action="store_true", help="print every number of the report as JSON instead")
    evaluate.set_defaults(handler=run, defaults=vars(evaluate.parse_args([])))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(options: argparse.Namespace) -> int:
    """Evaluate (or grade again), and print the report. Raises InputError; no folder is made then."""
    import sys

    from groupwise.harness.errors import InputError, printable

    if options.rescore is not None:
        from groupwise.harness.evaluation.applies import check_rescore
        from groupwise.harness.evaluation.rescore import rescore

        check_rescore(options)
        place = rescore(options)
        return _print(place, options.json, f"graded again: {place}")
    for name in ("model", "task"):
        if not getattr(options, name):
            raise InputError(f"evaluate: expected --{name} (or --rescore)")
    from groupwise.harness.evaluation.run import Interrupted, evaluate

    try:
        place, counts = evaluate(options)
    except Interrupted as error:
        print(f"groupwise: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("groupwise: interrupted; what is generated is stored, and the same command goes on from here",
              file=sys.stderr)  # fmt: skip
        return 130
    told = "there already: nothing to do" if counts is None else (
        f"{counts.generated} rollouts generated, {counts.restored} from the store"
        + (f"; {counts.refused} were refused and are unscored" if counts.refused else "")
    )  # fmt: skip
    return _print(place, options.json, told)


def _print(place: Path, as_json: bool, told: str) -> int:
    import json
    import sys

    from groupwise.harness.report.write import print_report, written_summary

    print(f"groupwise: {told}", file=sys.stderr)
    if as_json:
        print(json.dumps(written_summary(place), indent=1, ensure_ascii=False))
    else:
        print_report(place)
        print(f"report: {place / 'report' / 'index.html'}, {place / 'report' / 'report.md'}")
    return 0
