"""A million training rollouts in one cell: written, interrupted, resumed, compacted, and read for a report.

    python tests/benchmarks/million_rollouts.py [--rollouts 1000000] [--folder DIR]

Each part runs in a process of its own, with the code that runs do it with (records, compaction, report), and prints its
seconds and peak memory. The first is killed with SIGKILL in the middle of a line, some batches after a checkpoint.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from report_fixture import make_run

from groupwise.algorithms.base import Rollout
from groupwise.harness.records import START, Log, read_json, write_json
from groupwise.harness.sampler import row_of
from groupwise.verifiers import Verdict

BATCH, EVERY = 64, 1000  # rollouts of a step; steps between two checkpoints, at most
CEILING = 1024  # MiB that any part may take
CELL, STATE = Path("cells") / "grpo-seed0", "state.json"
WORDS = [
    "so",
    "we",
    "add",
    "the",
    "first",
    "number",
    "to",
    "the",
    "second",
    "and",
    "take",
    "away",
    "what",
    "is",
    "left",
    "of",
    "it",
]


def rollout(number: int) -> Rollout:
    """A rollout of some fifty words."""
    right = number * 2654435761 % 7 < 3
    text = " ".join(WORDS[(number * 31 + k * k) % len(WORDS)] for k in range(40 + number % 21))
    reason = f"{number % 97} is {'' if right else 'not '}right"
    verdict = Verdict(float(right), str(number % 97), "numeric/answer-is", reason,
                      {"format": 1.0, "strict": float(right)})  # fmt: skip
    return Rollout(
        problem_id=f"word_arithmetic/train/{number // 8 % 5000:04d}", index=number // 40000, stage="final",
        prompt_tokens=(), tokens=(1,) * (50 + number % 20), logprobs=None, text=text, finish_reason="stop",
        verdict=verdict,
    )  # fmt: skip


def step_row(step: int) -> dict[str, Any]:
    done = (step + 1) * BATCH
    return {
        "step": step, "rollouts": done, "generated_tokens": done * 60, "reward_mean": 0.4, "loss": 0.01,
        "grad_norm": 1.0, "lr": 1e-5, "entropy": 1.5, "clip_fraction": 0.0, "kl": None, "signal_share": 0.75,
        "groups": {"all_right": 1, "all_wrong": 1, "mixed": 6, "unscored": 0}, "length_mean": 60.0,
        "truncated_share": 0.0, "distinct_answers_mean": 3.0, "dominant_share_mean": 0.5, "repetition_mean": 0.1,
    }  # fmt: skip


def write(folder: Path, total: int, stop: int | None) -> None:
    """Go on from the checkpoint, as `cell.Training` does, until all is written; ``stop``: the step to be killed at."""
    cell = folder / CELL
    fresh: dict[str, Any] = {"step": 0, "marks": {"steps": START, "rollouts": START}}
    state = read_json(cell / STATE) if (cell / STATE).exists() else fresh
    logs = {name: Log(cell / f"{name}.jsonl", tuple(state["marks"][name])) for name in ("steps", "rollouts")}
    steps = -(-total // BATCH)
    every = min(EVERY, 1 + steps // 10)
    for step in range(state["step"], steps):
        if step == stop:
            logs["rollouts"]._file.write(b'{"problem": "torn')
            logs["rollouts"].sync()
            os.kill(os.getpid(), signal.SIGKILL)
        numbers = range(step * BATCH, min((step + 1) * BATCH, total))
        logs["steps"].append([step_row(step)])
        logs["rollouts"].append(row_of(rollout(number), step=step, discarded=False) for number in numbers)
        if (step + 1) % every == 0:
            write_json(cell / STATE, {"step": step + 1, "marks": {name: log.sync() for name, log in logs.items()}})
    for log in logs.values():
        log.close()


def compact(folder: Path) -> None:
    from groupwise.harness.cell import _finish

    (folder / CELL / STATE).unlink()
    _finish(folder / CELL)


def read(folder: Path, total: int) -> None:
    """Every rollout, a row group at a time."""
    from pyarrow import compute, parquet

    file = parquet.ParquetFile(folder / CELL / "rollouts.parquet")
    count, tokens, last = 0, 0, -1
    for batch in file.iter_batches(batch_size=8192):
        steps = batch["step"].to_numpy()
        if steps[0] not in (last, last + 1):
            sys.exit(f"step {steps[0]} follows step {last}")
        count, last = count + batch.num_rows, int(steps[-1])
        tokens += compute.sum(batch["tokens"]).as_py()
    expected = sum(50 + number % 20 for number in range(total))
    if (count, tokens) != (total, expected):
        sys.exit(f"{count} rollouts with {tokens} tokens, expected {total} with {expected}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--part", choices=("write", "compact", "read"), help=argparse.SUPPRESS)
    parser.add_argument("--stop", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "write":
        write(options.folder, options.rollouts, options.stop)
    elif options.part == "compact":
        compact(options.folder)
    elif options.part == "read":
        read(options.folder, options.rollouts)
    else:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            measure(Path(folder) / "run", options.rollouts)


def measure(folder: Path, total: int) -> None:
    make_run(folder, labels=("grpo", "dapo"), tasks=("word_arithmetic",), seeds=(0, 1), problems=50, samples=8)
    (folder / CELL / "steps.jsonl").unlink()
    own = [sys.executable, __file__, "--folder", str(folder), "--rollouts", str(total), "--part"]
    stop = int(0.6 * total / BATCH) + 1
    _part("nothing but the imports", [sys.executable, "-c", "import groupwise.harness.cell"])
    _part("written, and killed at 60 %", [*own, "write", "--stop", str(stop)], -signal.SIGKILL)
    _part("resumed to the end", [*own, "write"])
    size = (folder / CELL / "rollouts.jsonl").stat().st_size
    _part("compacted", [*own, "compact"])
    packed = (folder / CELL / "rollouts.parquet").stat().st_size
    _part("read again, and counted", [*own, "read"])
    _part("groupwise report", [sys.executable, "-m", "groupwise.harness.cli", "report", str(folder)])
    print(f"{total:,} rollouts: {size / 1e6:.0f} MB as JSON lines, {packed / 1e6:.0f} MB as parquet; "
          f"{-(-total // BATCH):,} steps")  # fmt: skip


def _part(words: str, command: list[str], expected: int = 0) -> None:
    began = time.perf_counter()
    process = Popen(command, stdout=DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        sys.exit(f"{words}: ended with {process.returncode}, expected {expected}")
    peak = usage.ru_maxrss / 1024
    print(f"{words:<28}{time.perf_counter() - began:8.1f} s{peak:10.0f} MiB at most", flush=True)
    if peak > CEILING:
        sys.exit(f"{words}: more than {CEILING} MiB")


if __name__ == "__main__":
    main()
