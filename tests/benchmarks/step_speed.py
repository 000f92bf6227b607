"""One training step of GRPO: ours beside TRL's GRPOTrainer, in alternating turns.

Both have the same model files, prompts, group size, number of new tokens (no end of sequence), precision and threads;
each group has rewards of both kinds, so that no rollout may be left out; one optimizer step to a batch. TRL runs in its
own environment, in micro-batches of 8, its default (``--micro-batch``), twice: as it comes (gradient checkpointing, no
variables set but the number of threads), and with the environment variables of our workers and without checkpointing.
Before that both compute the loss of one shared batch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from peers import add_environments_option, interpreter

from groupwise.harness.executors.base import WORKER_ENVIRONMENT
from groupwise.harness.loading import resolve

HERE = Path(__file__).parent
NAMES = {"embedded": "embedded", "smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}
PHASES = ("sampling", "scoring", "forward and backward", "optimizer", "step")
PEERS = {
    "TRL as it comes": {"checkpointing": True, "plain": True},
    "TRL, our variables, no checkpointing": {"checkpointing": False, "plain": False},
}
LOSS_TOLERANCE = 1e-5
STEPS = {"embedded": 10, "smollm2": 1}  # some seconds: the first step after the other side's turn finds cold caches


class Side:
    """A process that takes a step when it is told to. ``script``: ``step_ours.py`` or ``step_trl.py``."""

    def __init__(self, python: str, script: str, case: dict[str, Any], folder: Path, name: str) -> None:
        self.name = name
        self.rows: list[dict[str, float]] = []
        self._log = folder / f"{name}.log"
        file = folder / f"{name}.json"
        file.write_text(json.dumps(case), encoding="utf-8")
        ours = {} if case.get("plain") else WORKER_ENVIRONMENT
        variables = {**os.environ, **ours, "HF_HUB_OFFLINE": "1"}
        variables["OMP_NUM_THREADS"] = str(case["threads"])
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [python, str(HERE / script), str(file), str(case["threads"])], env=variables, encoding="utf-8",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self.first = self._result()

    def _result(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("RESULT "):
                return dict(json.loads(line.removeprefix("RESULT ")))
        self.close()
        last = self._log.read_text(encoding="utf-8").strip().splitlines()[-5:]
        raise RuntimeError(f"{self.name} ended without a result:\n" + "\n".join(last))

    def turn(self, steps: int, keep: bool = True) -> None:
        """That many training steps, one after another; ``keep``: their mean counts."""
        rows = [self._step() for _ in range(steps)]
        mean = {name: sum(row[name] for row in rows) / steps for name in rows[0]}
        self.rows += [mean] if keep else []

    def _step(self) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._result()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def middle(self, phase: str) -> float:
        """The median of the repeats."""
        return median(row[phase] for row in self.rows)


def shared_loss(case: dict[str, Any], trl: str, folder: Path) -> bool:
    """Print both sides' loss and gradient of one batch; whether the losses agree."""
    ours = Side(sys.executable, "step_ours.py", {**case, "what": "loss", "dtype": "float32"}, folder, "loss-ours")
    ours.close()
    given = {**case, **ours.first, "what": "loss", "dtype": "float32", "checkpointing": False, "micro_batch": 10**6}
    theirs = Side(trl, "step_trl.py", given, folder, "loss-trl")
    theirs.close()
    a, b = ours.first, theirs.first
    difference = abs(a["loss"] - b["loss"])
    print(f"loss of one shared batch, float32: Groupwise {a['loss']:.9f}, TRL {b['loss']:.9f}, ", end="")
    print(f"difference {difference:.1e} (at most {LOSS_TOLERANCE:.0e} allowed); ", end="")
    relative = abs(a["gradient"] - b["gradient"]) / b["gradient"]
    print(f"length of the gradient: {a['gradient']:.7f} and {b['gradient']:.7f}, {relative:.1e} apart\n")
    return bool(difference <= LOSS_TOLERANCE)


def measure(
    case: dict[str, Any], trl: str, folder: Path, repeats: int, steps: int
) -> tuple[list[Side], dict[str, Any]]:
    """The sides with their repeats, ours first, and what ours says of the work."""
    ours = Side(sys.executable, "step_ours.py", {**case, "what": "speed"}, folder, "Groupwise")
    given = {**case, "what": "speed", "prompts": ours.first["prompts"]}
    sides = [ours]
    for name, changes in PEERS.items():
        peer = Side(trl, "step_trl.py", {**given, **changes}, folder, name)
        for repeat in range(repeats + 1):  # the first is a warm-up
            for side in (ours, peer) if peer.name == next(iter(PEERS)) else (peer,):
                side.turn(steps, keep=repeat > 0)
        peer.close()  # two of TRL's would not fit into a small machine together
        sides.append(peer)
    ours.close()
    drawn = {side.name: {row["tokens"] for row in side.rows} for side in sides}
    if any(len(tokens) > 1 or tokens != drawn[ours.name] for tokens in drawn.values()):
        raise SystemExit(f"the sides did not draw equally many tokens: {drawn}")
    return sides, ours.first


def table(sides: list[Side], work: dict[str, Any]) -> str:
    """Seconds of each phase, how many times ours, and how near the processor's limit learning comes."""
    limit = max(work["limits"].values())
    lines = [
        "| seconds, median (lowest to highest) | " + " | ".join(side.name for side in sides) + " |",
        "|---|" + "---|" * len(sides),
    ]
    for phase in PHASES:
        cells = []
        for side in sides:
            values = [row[phase] for row in side.rows]
            times = "" if side is sides[0] else f", {side.middle(phase) / max(sides[0].middle(phase), 1e-9):.1f} x ours"
            cells.append(f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f}){times}")
        lines.append(f"| {phase} | " + " | ".join(cells) + " |")
    tokens = [f"{side.middle('tokens') / side.middle('step'):.0f}" for side in sides]
    sampled = [f"{side.middle('tokens') / side.middle('sampling'):.0f}" for side in sides]
    lines.append("| tokens/s of the whole step | " + " | ".join(tokens) + " |")
    lines.append("| tokens/s of sampling | " + " | ".join(sampled) + " |")
    rates = [work["training FLOP"] / side.middle("forward and backward") / 1e9 for side in sides]
    lines.append("| needed GFLOP/s in learning | " + " | ".join(f"{r:.0f} ({r / limit:.0%})" for r in rates) + " |")
    lines.append("| peak memory, GiB | " + " | ".join(f"{s.rows[-1]['peak GiB']:.1f}" for s in sides) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(NAMES), default="embedded")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of a side in a repeat (default: 10 for embedded, 1 for smollm2)")
    parser.add_argument("--problems", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--micro-batch", type=int, default=8, help="TRL's per_device_train_batch_size (its default: 8)")
    add_environments_option(parser)
    args = parser.parse_args()
    trl = interpreter("trl", args.environments)
    steps = args.steps or STEPS[args.model]
    with tempfile.TemporaryDirectory() as scratch:
        case = {
            "name": args.model, "model": resolve(NAMES[args.model])[0], "dtype": args.dtype, "threads": args.threads,
            "problems": args.problems, "group_size": args.group_size, "new_tokens": args.new_tokens, "folder": scratch,
            "micro_batch": args.micro_batch,
        }  # fmt: skip
        agree = shared_loss(case, trl, Path(scratch))
        sides, work = measure(case, trl, Path(scratch), args.repeats, steps)
    lengths = [len(prompt) for prompt in work["prompt_tokens"]]
    print(
        f"{args.model} ({work['parameters'] / 1e6:.1f} M parameters), {args.dtype}, {args.problems} prompts of", end=" "
    )
    print(
        f"{min(lengths)} to {max(lengths)} tokens x {args.group_size} rollouts x {args.new_tokens} new tokens,", end=" "
    )
    print(f"{args.threads} threads, {args.repeats} repeats of {steps} steps, load average {os.getloadavg()[0]:.1f}\n")
    print(table(sides, work))
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in work["limits"].items())
    print(f"\nmatrix products of 2048 x 2048 in {args.dtype} on this processor: {rates} GFLOP/s. Needed are", end=" ")
    print(f"{work['training FLOP'] / 1e12:.3f} TFLOP a step, each prompt counted once.")
    whole = [side.middle("step") for side in sides]
    print(
        f"step: ours is {whole[1] / whole[0]:.2f} x as fast as TRL as it comes, "
        f"{whole[2] / whole[0]:.2f} x as fast as TRL at its best"
    )
    return 0 if agree else 1


if __name__ == "__main__":
    raise SystemExit(main())
