"""A first comparison, from Python: GRPO and Dr. GRPO on the embedded model, in well under a minute.

    python docs/examples/first_comparison.py [RUN]        (default: runs/first)

The experiment is the shipped `quickstart`, cut down by the same KEY=VALUE changes that `groupwise run --set` takes.
With so small a budget, and two seeds, nothing will be established; the report says so.
"""

import sys
from pathlib import Path

from groupwise.harness.report.write import written_summary
from groupwise.harness.run import run

CHANGES = [
    "seeds=[0, 1]",
    "budget.total=256",
    'algorithms={"grpo": {}, "dr_grpo": {}}',
    'train.tasks=[{"name": "word_arithmetic", "split": "train", "problems": 64}]',
    'evaluation.tasks=[{"name": "word_arithmetic", "split": "test", "problems": 24}]',
    "evaluation.samples=4",
    "evaluation.k=[1, 4]",
    "evaluation.curve_points=1",
]


def main(folder: Path) -> None:
    run("quickstart", CHANGES, out=folder, resume=False, data_dir=None)
    summary = written_summary(folder)
    found = summary["tasks"]["word_arithmetic"]
    for label in summary["labels"]:
        accuracy = found["labels"][label]["accuracy"]
        print(f"{label:10} {accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}]")
    print(f"report: {folder / 'report' / 'index.html'}")


# Cells run in processes of their own, which import this file: without this line each would start a run again.
if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/first"))
