"""Is A better than B? What `groupwise compare` does, from Python.

    python docs/examples/compare_runs.py [A] [B]          (default: runs/first:dr_grpo runs/first:grpo)

A and B are whatever `groupwise compare` takes: RUN:LABEL, a sample log of lm-evaluation-harness, JSON lines or parquet
with a problem id and a score. torch is not needed.
"""

import sys

from groupwise.harness.compare.analysis import analyse
from groupwise.harness.compare.sides import contests


def main(first: str, second: str) -> None:
    found = analyse(contests(first, second, tasks=(), metrics=("accuracy",)), margin=0.02, correction="holm")
    for one in found.findings:
        apart = one.difference.estimate
        print(f"{one.contest.task}: {apart.value:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}], p {one.p_corrected:.3f}")
        print(f"  established after correction: {'yes' if one.survives else 'no'}")
        print(f"  smallest difference it could have seen: {one.difference.minimum_detectable:.3f}")
    for note in found.notes:
        print(f"- {note}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/first:dr_grpo", "runs/first:grpo"]))
