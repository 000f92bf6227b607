"""Rollouts to look at: the same problems, answered by every optimizer.

Problems on which the optimizers disagree most come first: an average of all would show what they share. A few that
all got right and all got wrong stand for the rest. The choice follows from the scores alone; the same records give the
same problems.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from groupwise.harness.jsontext import loads
from groupwise.harness.layout import RIGHT, cell_name
from groupwise.harness.report.html.safe import script_data
from groupwise.harness.report.read import FINAL, Run

PROBLEMS = 24  # shown per task, at most
AGREED = 4  # of them all right, and as many all wrong
BYTES = 2_000_000  # of sample data in a page, over all tasks
PROMPT = 12_000  # characters of a prompt's message that are kept
ANSWERS = 20  # reference answers listed
# Samples per problem and characters per completion: the first that leaves room for half of the problems.
SIZES = ((8, 6000), (8, 2500), (4, 2500), (4, 1000), (2, 600), (1, 400))

DISAGREE, SOME, ALL_RIGHT, ALL_WRONG = "optimizers disagree", "optimizers agree", "all right", "all wrong"
_ID = re.compile(r'\s*\{"problem":\s*("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True)
class Text:
    """A text cut in the middle: `cut` characters between head and tail are left out."""

    head: str
    cut: int = 0
    tail: str = ""


@dataclass(frozen=True)
class Sample:
    """One rollout. verdict: right, partly, wrong or unscored. tokens: None where not recorded."""

    number: int
    verdict: str
    score: float | None
    answer: str | None
    reason: str
    method: str
    tokens: int | None
    truncated: bool
    text: Text


@dataclass(frozen=True)
class Example:
    """One problem. why: what made it worth showing. prompt: (role, text) pairs, none where not recorded.

    columns: samples by label, in the report's order.
    """

    problem: str
    why: str
    prompt: tuple[tuple[str, Text], ...]
    answers: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    columns: Mapping[str, tuple[Sample, ...]]


@dataclass(frozen=True)
class TaskExamples:
    """The examples of one task. total: problems evaluated. seeds: the one shown, by label. clipped: characters kept."""

    task: str
    total: int
    seeds: Mapping[str, int]
    samples: int
    clipped: int
    examples: tuple[Example, ...]

    @property
    def cut(self) -> bool:
        """Whether any completion is longer than what is shown of it."""
        return any(s.text.cut for e in self.examples for found in e.columns.values() for s in found)


def read_examples(run: Run) -> list[TaskExamples]:
    """Examples for every task with a final evaluation, together at most `BYTES`; each label's first seed."""
    found = []
    final = run.rollouts[run.rollouts["at"] == FINAL]
    tasks = [task for task in run.tasks if (final["task"] == task).any()]
    for task in tasks:
        files = _files(run, task)
        rows = final[final["task"] == task]
        mine = pd.concat(
            [rows[(rows["label"] == label) & (rows["seed"] == seed)] for label, (seed, _) in files.items()]
        )
        chosen = choose(mine)
        read = {label: _rows(path, chosen) for label, (_, path) in files.items()}
        asked = _asked(run.folder / "problems" / f"{task}.jsonl", chosen)
        seeds = {label: seed for label, (seed, _) in files.items()}
        for samples, clip in SIZES:
            examples = _fitting(_examples(chosen, asked, read, samples, clip), BYTES // len(tasks))
            if 2 * len(examples) >= len(chosen):
                break
        if run.untrained:
            examples = [replace(one, why=one.why.replace("optimizers", "models")) for one in examples]
        found.append(TaskExamples(task, mine["problem"].nunique(), seeds, samples, clip, tuple(examples)))
    return found


def _files(run: Run, task: str) -> dict[str, tuple[int, Path]]:
    """First seed with a final evaluation on the task, and its file, by label."""
    found: dict[str, tuple[int, Path]] = {}
    for label in run.order:
        for seed in run.seeds:
            path = run.folder / "evaluations" / cell_name(label, seed) / "final" / f"{task}.jsonl"
            if label not in found and path.exists():
                found[label] = (seed, path)
    return found


def choose(rollouts: pd.DataFrame, problems: int = PROBLEMS, agreed: int = AGREED) -> dict[str, str]:
    """Problem ids to show, in the order to show them, with the reason for each.

    rollouts: columns label, problem, score. Disagreement: standard deviation between labels of the mean score.
    """
    means = rollouts.astype({"label": str, "problem": str}).groupby(["problem", "label"])["score"].mean().unstack()
    spread = means.std(axis=1, ddof=0).fillna(0.0).round(9)
    every = pd.DataFrame({"spread": spread, "low": means.min(axis=1), "high": means.max(axis=1)}).reset_index()
    ranked = every.sort_values(["spread", "problem"], ascending=[False, True])
    right, wrong = ranked[ranked["low"] >= RIGHT], ranked[ranked["high"] == 0]
    mixed = ranked.drop(index=[*right.index, *wrong.index])
    room = problems - min(agreed, len(right)) - min(agreed, len(wrong))
    # What the mixed ones leave free goes to the others, half and half as far as both last.
    left = problems - min(room, len(mixed))
    rights = min(len(right), max(left - len(wrong), left // 2))
    differing = mixed["spread"][:room] > 0
    return {
        **{p: DISAGREE if d else SOME for p, d in zip(mixed["problem"], differing, strict=False)},
        **dict.fromkeys(right["problem"][:rights], ALL_RIGHT),
        **dict.fromkeys(wrong["problem"][: left - rights], ALL_WRONG),
    }


def _lines(path: Path, wanted: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of the wanted problems, the file read once, line by line; broken lines have been reported by the reader."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            # Most lines are of other problems: their ids are read, the rest of them is not.
            start = _ID.match(line)
            try:
                if start and loads(start[1]) not in wanted:
                    continue
                row = loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and str(row.get("problem")) in wanted:
                yield row


def _rows(path: Path, wanted: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Rows by problem, in the order of their sample numbers; as many as can be shown."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in _lines(path, wanted):
        kept = found.setdefault(str(row["problem"]), [])
        if len(kept) < SIZES[0][0]:
            kept.append(row)
    return {problem: sorted(rows, key=lambda row: int(row["sample"])) for problem, rows in found.items()}


def _asked(path: Path, wanted: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What was asked, by problem; nothing for runs that did not record it."""
    if not path.exists():
        return {}
    return {str(row["problem"]): row for row in _lines(path, wanted)}


def _examples(
    chosen: Mapping[str, str],
    asked: Mapping[str, Mapping[str, Any]],
    read: Mapping[str, Mapping[str, list[dict[str, Any]]]],
    samples: int,
    clip: int,
) -> Iterator[Example]:
    for problem, why in chosen.items():
        row = asked.get(problem, {})
        answers = row.get("answers") or []
        said = [str(answer) for answer in (answers if isinstance(answers, list) else [answers])]
        if len(said) > ANSWERS:
            said = [*said[:ANSWERS], f"and {len(said) - ANSWERS} more"]
        columns = {
            label: tuple(_sample(found, clip) for found in rows.get(problem, [])[:samples])
            for label, rows in read.items()
        }
        known = {str(k): str(v) for k, v in (row.get("metadata") or {}).items() if isinstance(v, (str, int, float))}
        facts = tuple((k, label_text(v, 200)) for k, v in known.items())
        yield Example(problem, why, _prompt(row.get("prompt")), tuple(label_text(a, 500) for a in said), facts, columns)


def _prompt(prompt: Any) -> tuple[tuple[str, Text], ...]:
    if not prompt:
        return ()
    if isinstance(prompt, str):
        return (("prompt", shorten(prompt, PROMPT)),)
    said = [m for m in prompt if isinstance(m, dict)] if isinstance(prompt, list) else []
    return tuple((str(m.get("role", "")), shorten(str(m.get("content", "")), PROMPT)) for m in said)


def _sample(row: Mapping[str, Any], clip: int) -> Sample:
    score, answer, tokens = row.get("score"), row.get("answer"), row.get("tokens")
    verdict = "unscored" if score is None else "right" if score >= RIGHT else "partly" if score > 0 else "wrong"
    return Sample(
        number=int(row["sample"]),
        verdict=verdict,
        score=None if score is None else float(score),
        answer=None if answer is None else label_text(str(answer), 300),
        reason=label_text(str(row.get("reason") or ""), 500),
        method=label_text(str(row.get("method") or ""), 200),
        tokens=None if tokens is None else int(tokens),
        truncated=row.get("finish_reason") == "length",
        text=shorten(str(row.get("text") or ""), clip),
    )


def label_text(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shorten(text: str, limit: int) -> Text:
    """The first two thirds and the last third of `limit` characters: answers stand at the end of long completions."""
    if len(text) <= limit:
        return Text(text)
    last = limit // 3
    return Text(text[: limit - last], len(text) - limit, text[len(text) - last :])


def _fitting(examples: Iterator[Example], limit: int) -> list[Example]:
    """As many examples as fit into `limit` bytes of a page, in their order."""
    kept = []
    for example in examples:
        limit -= len(script_data(as_data(example)))
        if limit < 0:
            break
        kept.append(example)
    return kept


def as_data(example: Example) -> dict[str, Any]:
    """An example as the page's script reads it; lists rather than objects where there are many."""

    def parts(text: Text) -> list[Any]:
        return [text.head, text.cut, text.tail] if text.cut else [text.head]

    return {
        "problem": example.problem,
        "why": example.why,
        "prompt": [[role, parts(text)] for role, text in example.prompt],
        "answers": list(example.answers),
        "facts": [list(fact) for fact in example.facts],
        "columns": [
            [[s.number, s.verdict, s.score, s.answer, s.reason, s.method, s.tokens, s.truncated, parts(s.text)]
             for s in found] for found in example.columns.values()
        ],
    }  # fmt: skip
