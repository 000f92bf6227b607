"""A run's records with pandas: every evaluated rollout, every training step, and one number made from them by hand.

    python docs/examples/read_records.py [RUN]            (default: runs/first)

Records are plain files, so nothing of Groupwise is imported here.
"""

import sys
from pathlib import Path

import pandas as pd


def rollouts(run: Path) -> pd.DataFrame:
    """One row for each rollout of the final evaluations: label, seed, task, problem, sample, answer, score, text..."""
    parts = []
    for file in sorted(run.glob("evaluations/*/final/*.jsonl")):
        label, _, seed = file.parts[-3].rpartition("-seed")
        parts.append(pd.read_json(file, lines=True).assign(label=label, seed=int(seed), task=file.stem))
    return pd.concat(parts, ignore_index=True)


def steps(run: Path) -> pd.DataFrame:
    """One row for each training step of each cell: rollouts consumed, mean reward, entropy, length..."""
    parts = []
    for file in sorted(run.glob("cells/*/steps.jsonl")):
        label, _, seed = file.parts[-2].rpartition("-seed")
        parts.append(pd.read_json(file, lines=True).assign(label=label, seed=int(seed)))
    return pd.concat(parts, ignore_index=True)


def main(run: Path) -> None:
    rows = rollouts(run)
    # A score of None (NaN here) could not be graded: it is left out, never counted as wrong.
    scored = rows.dropna(subset="score")
    print(scored.groupby(["task", "label", "seed"])["score"].agg(["mean", "size"]).round(3), end="\n\n")

    wrong = scored[(scored["score"] == 0) & (scored["label"] != "base")]
    print("why the trained models were wrong:")
    print(wrong["reason"].str.replace(r"\d+", "N", regex=True).value_counts().head(5).to_string(), end="\n\n")

    course = steps(run)
    print("mean reward, first and last step:")
    print(course.groupby(["label", "seed"])["reward_mean"].agg(["first", "last"]).round(3).to_string())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/first"))
