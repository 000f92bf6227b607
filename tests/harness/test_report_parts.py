"""Accuracy by part: small parts are pooled, nothing is lost without a word, tables and figures say the same."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_summaries import NAMES, made
from hypothesis import given
from hypothesis import strategies as st

from groupwise.harness.report import dots, drawing, figures, labels, tables

TASK = "write_sum"
Summary = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def style() -> Iterator[None]:
    with drawing.styled():
        yield


def metadata(values: list[Any]) -> dict[str, dict[str, Any]]:
    """Problems with these values of the field `steps`; None: without one."""
    return {f"{i:03d}": {} if value is None else {"steps": value} for i, value in enumerate(values)}


def grids(problems: int, seeds: int = 3) -> dict[str, pd.DataFrame]:
    """Accuracy of a problem is its number over 1000; the same in all seeds."""
    index = [f"{i:03d}" for i in range(problems)]
    accuracy = pd.DataFrame(np.tile(np.arange(problems)[:, None] / 1000, seeds), index=index)
    return {"accuracy": accuracy, "scored": pd.DataFrame(np.full((problems, seeds), 4.0), index=index)}


def parts_of(values: list[Any]) -> Summary:
    return labels.breakdown({"grpo": grids(len(values))}, metadata(values))


def spread(counts: dict[Any, int]) -> list[Any]:
    return [value for value, count in counts.items() for _ in range(count)]


def test_small_parts_are_one_whose_accuracy_is_that_of_all_its_problems() -> None:
    values = spread({1: 68, 2: 37, 3: 2, 4: 1, 5: 2, 6: 1, None: 9})
    found = parts_of(values)["steps"]
    assert {name: part["problems"] for name, part in found.items()} == {"1": 68, "2": 37, "other": 6}
    assert found["other"]["pooled"] == ["3", "4", "5", "6"]
    estimate = found["other"]["labels"]["grpo"]
    assert estimate["value"] == pytest.approx(np.arange(105, 111).mean() / 1000)
    assert (estimate["problems"], estimate["samples"]) == (6, 6 * 3 * 4)
    assert labels.unsorted({"steps": found}, metadata(values)) == {"steps": 9}


@pytest.mark.parametrize(
    ("counts", "parts"),
    [
        ({1: 5, 2: 5}, {"1": 5, "2": 5}),
        ({1: 8, 2: 8, 3: 3}, {"1": 8, "2": 8, "3": 3}),  # alone it keeps its name
        ({1: 4, 2: 4, 3: 4}, None),  # nothing but what would be pooled
        ({"other": 6, "a": 6, "b": 1, "c": 2}, {"a": 6, "other": 6, "all other": 3}),
        ({"x": 9, 1: 4, 2: 2}, {"x": 9, "other": 6}),
    ],
)
def test_what_is_pooled(counts: dict[Any, int], parts: dict[str, int] | None) -> None:
    found = parts_of(spread(counts)).get("steps")
    assert (found and {name: part["problems"] for name, part in found.items()}) == parts


@given(st.lists(st.none() | st.integers(1, 8), min_size=1, max_size=80))
def test_every_problem_is_in_a_part_or_counted_as_without(values: list[int | None]) -> None:
    found = parts_of(values)
    left = labels.unsorted(found, metadata(values))
    assert set(left) == set(found)
    for parts in found.values():
        assert sum(part["problems"] for part in parts.values()) + left["steps"] == len(values)
        assert sum(part["problems"] < labels.FEW for part in parts.values()) <= 1
        often = Counter(value for value in values if value is not None)
        assert all(part["problems"] == often[int(name)] for name, part in parts.items() if "pooled" not in part)


def summary_with(counts: dict[str, int], pooled: list[str], without: int) -> Summary:
    """A summary whose task is broken down into these parts, the last of them pooled where `pooled` names values."""
    summary = copy.deepcopy(made(NAMES[:3])[0])
    content = summary["tasks"][TASK]
    some = content["breakdown"].pop("level")["1"]["labels"]
    content["breakdown"]["steps"] = {name: {"problems": count, "labels": some} for name, count in counts.items()}
    if pooled:
        content["breakdown"]["steps"][list(counts)[-1]]["pooled"] = pooled
    content["unsorted"] = {"steps": without}
    return summary


def words_of(summary: Summary) -> tuple[list[drawing.Drawing], str, str]:
    """The figures by part, the caption of the first, and that of the table."""
    drawn = list(dots.breakdowns(summary, TASK, summary["tasks"][TASK]))
    table = next(one for one in tables.all_tables(summary) if one.name.startswith("by-steps"))
    return drawn, drawn[0].caption if drawn else "", table.caption


def test_captions_say_what_was_pooled_and_how_many_have_no_value() -> None:
    drawn, *captions = words_of(summary_with({"1": 68, "2": 37, "other": 6}, ["3", "4"], 9))
    for caption in captions:
        assert "other: 3, 4, which have fewer than 5 problems each." in caption
        assert "Left out: 9 problems without a value of steps." in caption
    rows = [text.get_text() for text in drawn[0].figure.axes[0].get_yticklabels()]
    assert rows == ["1 (68)", "2 (37)", "other (6)"]
    for one in words_of(summary_with({"1": 68, "2": 52}, [], 1))[1:]:
        assert "Left out: 1 problem without a value of steps." in one
    for one in words_of(summary_with({"1": 68, "2": 52}, [], 0))[1:]:
        assert "Left out" not in one
        assert "fewer than" not in one


def test_what_stays_small_is_in_the_table_alone_and_the_figure_says_so() -> None:
    summary = summary_with({"1": 68, "2": 37, "other": 2}, ["3", "4"], 0)
    drawn, caption, _ = words_of(summary)
    rows = [text.get_text() for text in drawn[0].figure.axes[0].get_yticklabels()]
    assert rows == ["1 (68)", "2 (37)"]
    assert "In the tables alone, for fewer than 5 problems: other (2)." in caption
    table = next(one for one in tables.all_tables(summary) if one.name.startswith("by-steps"))
    assert table.head[1:] == ("1 (68)", "2 (37)", "other (2)")
    assert not list(words_of(summary_with({"1": 68, "other": 2}, ["3", "4"], 0))[0]), "one part is no comparison"


def test_a_report_from_before_has_no_count_of_problems_without() -> None:
    summary = summary_with({"1": 68, "2": 37}, [], 0)
    del summary["tasks"][TASK]["unsorted"]
    assert "Left out" not in words_of(summary)[1]


@pytest.mark.parametrize(("seen", "words"), [([50], "first 50 of 100"), ([48, 50], "first 48–50 of 100"), ([100], "")])
@pytest.mark.parametrize("count", [3, 11])
def test_a_curve_on_fewer_problems_says_so_in_the_picture(seen: list[int], words: str, count: int) -> None:
    summary, _ = made(NAMES[:count])
    content = summary["tasks"][TASK]
    for number, line in enumerate(content["curve"].values()):
        for point in line:
            point["accuracy"]["problems"] = seen[number % len(seen)]
    drawn = {one.name: one for one in itertools.islice(figures.drawings(summary, pd.DataFrame()), 2)}
    for name in (f"curve-{TASK}", f"tokens-{TASK}"):
        title = drawn[name].figure.get_suptitle().replace("\n", " ")
        assert title.endswith(f": {TASK} ({words} problems)" if words else f": {TASK}"), title
        assert (f"({words} problems)" if words else "(100 problems)") in drawn[name].caption
        drawing.settle(drawn[name].figure)
        drawn[name].figure.draw_without_rendering()
        box, frame = drawn[name].figure._suptitle.get_window_extent(), drawn[name].figure.bbox  # type: ignore[attr-defined]
        assert box.x1 <= frame.x1
