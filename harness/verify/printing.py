"""What ``groupwise verify`` found, in words. Each function takes the JSON data of one form of the command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from groupwise.harness.compare.rankings import p_holm
from groupwise.harness.verify.commands import LISTED

Data = Mapping[str, Any]
CHARACTERS = 70  # of a text that is quoted


def graded(data: Data) -> Iterator[str]:
    """``verify FILE``."""
    yield from _about(data, [data["verifier"]])
    scored = data["completions"] - data["unscored"]
    yield f"completions  {data['completions']}, of {data['problems']} problems"
    partly = f", {data['partly_right']} partly right" if data["partly_right"] else ""
    yield f"right        {data['right']}; {data['wrong']} wrong{partly}"
    yield f"unscored     {data['unscored']}" + ("; never counted as wrong" if data["unscored"] else "")
    for reason, count in data["unscored_reasons"].items():
        yield f"               {count} x {reason}"
    share = data["unparsed"]["share"]
    yield f"unparsed     {data['unparsed']['count']} of {scored}" + (
        f" ({100 * share:.1f} %)" if share is not None else ""
    )
    yield f"accuracy     {_interval(data['accuracy'])}  (95 %, {data['accuracy']['method']})"
    if data["strict"]:
        yield f"strict       {_interval(data['strict'])}  (only a marked answer counts)"
        yield f"loose        {_interval(data['loose'])}  (under any rule); gap {_interval(data['gap'])}"
    for name, mean in data["components"].items():
        yield f"{name:<12} {mean:.3f}  (mean of this component)"
    for name, parts in data["by"].items():
        yield f"by {name}"
        width = max(len(part["group"]) for part in parts) if parts else 0
        for part in parts:
            yield f"  {part['group']:<{width}}  {_interval(part)}  {part['problems']} problems"
    if data["labels"]:
        yield from _labels("labels       ", data["labels"])


def audited(data: Data) -> Iterator[str]:
    """``verify audit``."""
    first, second = (one["name"] for one in data["verifiers"])
    yield from _about(data, data["verifiers"])
    yield f"completions  {data['completions']}"
    width = max(len(first), 6) + 6
    yield f"{'':<{width}}  {second} right  {second} wrong"
    for label, cells in (
        (f"{first} right", (data["both_right"], data["only_first_right"])),
        (f"{first} wrong", (data["only_second_right"], data["both_wrong"])),
    ):
        yield f"{label:<{width}}  {cells[0]:>{len(second) + 6}}  {cells[1]:>{len(second) + 6}}"
    yield f"unscored     {first} {data['unscored'][0]}, {second} {data['unscored'][1]}"
    for name, labels in zip((first, second), data["labels"] or (), strict=False):
        yield from _labels(f"{name}: ", labels)
    yield f"disagreements  {data['disagreements']}"
    for row in data["listed"]:
        label = "" if row["label"] is None else f", label {row['label']:g}"
        yield f"- {row['problem']} sample {row['sample']}{label}: ...{_quoted(row['completion_end'][-CHARACTERS:])}"
        for name, verdict in zip((first, second), row["verdicts"], strict=True):
            yield f"    {name}: {_score(verdict['score'])}, {verdict['reason']}"
    if len(data["listed"]) < data["disagreements"]:
        yield f"... and {data['disagreements'] - len(data['listed'])} more; --all lists them"


def moved(data: Data) -> Iterator[str]:
    """``verify sensitivity``, as Markdown tables."""
    yield (
        f"Rollouts of {data['run']}, graded again. Intervals: {100 * data['level']:.0f} %; p (Holm): over the labels "
        "of a task and grader. own: the task's verifier; strict: right behind a mark; loose: right wherever it stands."
    )
    for task, by in data["tasks"].items():
        if "own" in by:
            yield from _moved_tables(task, by, data["comparator"])
        yield ""
        for grader, found in by.items():
            tau = "" if found["tau"] is None or grader == "own" else f"; tau with own {_numbers(found['tau'])}"
            yield f"- {grader}, order of the means: {' > '.join(found['ranking'])}{tau}"
        for grader in data["graders"]:
            if grader not in by:
                yield f"- {grader}: scored nothing of this task"


def _moved_tables(task: str, by: Data, against: str) -> Iterator[str]:
    others = [grader for grader in by if grader != "own"]
    shown = {"accuracy": list(by), f"difference from {against}": list(by), "shift of that difference": others}
    for (title, graders), kind in zip(shown.items(), ("accuracy", "difference", "shift"), strict=True):
        labels = [label for label in by["own"]["accuracy"] if label in by["own"][kind]]
        if not labels:  # one model alone
            continue
        if not any(by[grader][kind][label] for grader in graders for label in labels):
            # An interval around nothing that moved would measure the statistics, not the graders.
            yield from ("", f"{task}: no grader moves any {'difference' if others else 'score'}")
            continue
        yield from ("", f"{task}: {title}", "", f"| | {' | '.join(graders)} |", "|---" * (1 + len(graders)) + "|")
        for label in labels:
            yield f"| {label} | " + " | ".join(_numbers(by[grader][kind][label]) for grader in graders) + " |"


def _numbers(found: Data | None) -> str:
    if found is None:
        return "none"
    holm = f", {p_holm(found)}" if "holm" in found else ""
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]{holm}"


def self_tested(data: Data) -> Iterator[str]:
    """``verify self-test``."""
    for task, line in _statuses(data["tasks"]):
        yield line
        if "trials" not in task:
            continue
        for row in task["failures"][:LISTED]:
            yield f"    {_trial(row)}: {_score(row['score'])}, {row['reason']}"
        if len(task["failures"]) > LISTED:
            yield f"    ... and {len(task['failures']) - LISTED} more; --json lists them"
        for row in task["known_bad"]:
            yield f"    known to be bad: {_trial(row)}: {row['known']}"


def controlled(data: Data) -> Iterator[str]:
    """``verify negative-control``."""
    for task, line in _statuses(data["tasks"]):
        yield line
        for row in task.get("controls", ()):
            extra = "" if row["judged"] else " (not judged: what guessing is worth)"
            extra += f", {row['unscored']} unscored" if row["unscored"] else ""
            extra += f", {row['left_out']} left out" if row["left_out"] else ""
            name = f"{row['control']}:"
            yield f"    {name:<30} {row['count']} of {row['of']} score 1, {_interval(row)}{extra}"


def _statuses(tasks: Sequence[Data]) -> Iterator[tuple[Data, str]]:
    """Each task with its headline."""
    width = max(len(task["task"]) for task in tasks)
    for task in tasks:
        words = task.get("reason", "")
        if "trials" in task:
            known = f", {len(task['known_bad'])} known to be bad" if task["known_bad"] else ""
            bare = task["problems_without_trials"]
            without = f", {bare} without a gold answer or solution" if bare else ""
            words = f"{task['problems']} problems, {task['trials']} trials ({task['solutions']} worked solutions), "
            words += f"{len(task['failures'])} failed{known}{without}; {task['verifier']}"
        elif "controls" in task:
            words = f"{task['problems']} problems, at most {task['most']:g} may score 1; {task['verifier']}"
        yield task, f"{task['task']:<{width}}  {task['status']:<15}  {words}"


def _about(data: Data, verifiers: Sequence[Data]) -> Iterator[str]:
    yield f"files        {', '.join(data['files'])}"
    if data["task"]:
        task = data["task"]
        options = "".join(f", {key} = {value!r}" for key, value in task["options"].items())
        yield f"task         {task['name']} version {task['version']}, split {task['split']}{options}"
    for verifier in verifiers:
        made = "".join(f", {key}: {value}" for key, value in verifier["environment"].items())
        yield f"verifier     {verifier['name']} version {verifier['version']}{made}"


def _labels(head: str, labels: Data) -> Iterator[str]:
    yield f"{head}agreement {_rate(labels['agreement'])}; {labels['unscored']} of {labels['labelled']} unscored"
    blank = " " * len(head)
    yield f"{blank}false negatives {_rate(labels['false_negatives'])} right ones"
    yield f"{blank}false positives {_rate(labels['false_positives'])} wrong ones"


def _rate(rate: Data) -> str:
    return f"{_interval(rate)}, {rate['count']} of {rate['of']}"


def _interval(found: Data) -> str:
    if found["value"] is None:
        return "no data"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _score(score: float | None) -> str:
    return "unscored" if score is None else f"score {score:g}"


def _trial(row: Data) -> str:
    reference = _quoted(row["references"][0] if row["references"] else "")
    return f"{row['problem']} {row['kind']} {_quoted(row['completion'])} of {reference}"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= CHARACTERS else text[: CHARACTERS - 3] + "...")
