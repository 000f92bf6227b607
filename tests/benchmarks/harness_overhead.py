"""What the harness itself costs: GSM8K's 1319 test problems graded, stored and reported, without a model.

    GROUPWISE_DATA=DIR python tests/benchmarks/harness_overhead.py [--repeats 3] [--samples 8] [--environments DIR]

Ours: `groupwise evaluate --engine replay` on 8 stored rollouts of each problem, made here from the worked solutions
(about half of them right), with a fresh store and a fresh folder each time; whole processes, with the report and its
figures as anyone gets them. Beside it lm-eval's `dummy` model on the same problems, asked 8 times each (`repeats`),
with its own GSM8K filters, its results and its sample log, in an environment of its own and offline. Its filters read
all 8 constant answers of a problem, and its metric scores the first; ours scores all 8. They take turns. Each is also
started on a single problem, which is what it costs before the work begins.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from peers import add_environments_option, interpreter

from groupwise import tasks
from groupwise.tasks.base import Problem

TASK = "gsm8k"
OURS = "Groupwise `evaluate`, replay: graded, stored, reported"
LM_EVAL = "lm-eval 0.4.13, `dummy` model, results and sample log"
LM_EVAL_TASK = """\
task: gsm8k_local
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
output_type: generate_until
test_split: test
repeats: {repeats}
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["Question:"]
  do_sample: false
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: false
    regexes_to_ignore: [",", "\\\\$", "(?s).*#### ", "\\\\.$"]
filter_list:
  - name: strict-match
    filter:
      - function: regex
        regex_pattern: "#### (\\\\-?[0-9\\\\.\\\\,]+)"
      - function: take_first
  - name: flexible-extract
    filter:
      - function: regex
        group_select: -1
        regex_pattern: "(-?[$0-9.,]{{2,}})|(-?[0-9]+)"
      - function: take_first
"""


def rollouts(problems: list[Problem], samples: int) -> Iterator[dict[str, object]]:
    """Completions as a middling model writes them: some steps of the solution, and a final number, right or not."""
    for problem in problems:
        chance = random.Random(problem.id)
        ability = chance.random()  # problems differ, as they do for any model
        for sample in range(samples):
            lines = (problem.solution or "").split("\n")
            if chance.random() > ability:
                wrong = str(int(float(problem.answers[0])) + chance.choice((-12, -2, -1, 1, 3, 10, 100)))
                lines = [*lines[: chance.randint(1, len(lines))], f"#### {wrong}"]
            text = "\n".join([chance.choice(("Let me think.", "First,", "Step by step:", "")), *lines]).strip()
            yield {"problem": problem.id, "sample": sample, "text": text, "finish_reason": "stop",
                   "tokens": len(text.split())}  # fmt: skip


def ours(file: Path, samples: int, problems: int) -> float:
    """Seconds of the whole process on the first problems; its report must have every rollout."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "evaluation"
        command = [
            sys.executable, "-m", "groupwise.harness.cli", "evaluate", "--engine", "replay",
            "--model", f"stored={file}", "--task", TASK, "--samples", str(samples), "--problems", str(problems),
            "--store", f"{folder}/store", "--out", str(out),
        ]  # fmt: skip
        seconds = timed(command)
        summary = json.loads((out / "report" / "summary.json").read_text(encoding="utf-8"))
    found = summary["tasks"][TASK]["labels"]["stored"]
    plausible = problems == 1 or 0.3 < found["accuracy"]["value"] < 0.7
    if found["rollouts"] != problems * samples or found["unscored"] or not plausible:
        sys.exit(f"the report is not of these rollouts: {found['rollouts']} of them, accuracy {found['accuracy']}")
    return seconds


def lm_eval(python: str, place: Path, samples: int, problems: int) -> float:
    """Seconds of the whole process on the first problems; its log must have every problem, once for each of two
    filters, with all answers."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            python, "-m", "lm_eval", "--model", "dummy", "--tasks", "gsm8k_local", "--include_path", str(place),
            "--output_path", folder, "--log_samples", "--limit", str(problems),
        ]  # fmt: skip
        seconds = timed(command)
        files = Path(folder).rglob("samples_*.jsonl")
        answers = [len(json.loads(line)["resps"][0]) for file in files for line in file.open(encoding="utf-8")]
    if answers != [samples] * (2 * problems):
        sys.exit(f"lm-eval logged {len(answers)} rows for {problems} problems and two filters, {set(answers)} answers")
    return seconds


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--samples", type=int, default=8)
    add_environments_option(parser)
    options = parser.parse_args()
    python = interpreter("lm-eval", options.environments)
    try:
        problems = tasks.make(TASK).problems("test")
    except tasks.DataError as error:
        sys.exit(str(error))
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        rows = [json.dumps(row) + "\n" for row in rollouts(problems, options.samples)]
        (place / "stored.jsonl").write_text("".join(rows), encoding="utf-8")
        documents = [{"question": problem.prompt[-1]["content"], "answer": problem.solution} for problem in problems]
        (place / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")
        task = LM_EVAL_TASK.format(file=place / "test.jsonl", repeats=options.samples)
        (place / "gsm8k_local.yaml").write_text(task, encoding="utf-8")
        times: dict[tuple[str, int], list[float]] = {}
        for _ in range(options.repeats):
            for count in (1, len(problems)):
                mine = ours(place / "stored.jsonl", options.samples, count)
                theirs = lm_eval(python, place, options.samples, count)
                times.setdefault((OURS, count), []).append(mine)
                times.setdefault((LM_EVAL, count), []).append(theirs)
                print(f"{count} problems: ours {mine:.1f} s, lm-eval {theirs:.1f} s", file=sys.stderr, flush=True)
    report(times, options.samples, options.repeats)


def report(times: dict[tuple[str, int], list[float]], samples: int, repeats: int) -> None:
    """``times``: seconds of each harness on that many problems."""
    load = os.getloadavg()[0]
    print(f"GSM8K test, whole processes, {repeats} repeats in turn (load average at the end {load:.1f})\n")
    print("| harness | problems x answers | seconds, median (lowest to highest) | ms per problem |")
    print("|---|---|---|---|")
    for (name, problems), found in times.items():
        middle = statistics.median(found)
        span = f"{middle:.1f} ({min(found):.1f} to {max(found):.1f})"
        each = "start-up" if problems == 1 else f"{1e3 * middle / problems:.2f}"
        print(f"| {name} | {problems} x {samples} | {span} | {each} |")
    for problems in dict.fromkeys(count for _, count in times):
        ratio = statistics.median(times[LM_EVAL, problems]) / statistics.median(times[OURS, problems])
        print(f"\nratio of the medians (lm-eval / ours), {problems} x {samples}: {ratio:.2f}")


if __name__ == "__main__":
    main()
