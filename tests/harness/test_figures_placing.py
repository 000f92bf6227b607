"""Places of names against their definition: apart, in order, within bounds, and as near as that allows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from groupwise.harness.report.drawing import broken, legend_columns
from groupwise.harness.report.placing import _crossings, _within, apart

places = st.lists(st.floats(0, 1, allow_nan=False, width=32), min_size=1, max_size=12)


@given(places, st.floats(0.001, 0.2))
def test_apart_within_bounds_and_in_order(values: list[float], gap: float) -> None:
    found = apart(values, gap, 0.0, 1.0)
    kept = min(gap, 1 / max(len(values) - 1, 1))
    assert min(found) >= -1e-9
    assert max(found) <= 1 + 1e-9
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    for one, two in itertools.pairwise(order):
        assert found[two] - found[one] >= kept - 1e-9


@given(places)
def test_what_is_apart_stays(values: list[float]) -> None:
    kept = sorted(set(values))
    gap = min((two - one for one, two in itertools.pairwise(kept)), default=1.0)
    assert apart(kept, gap, 0.0, 1.0) == pytest.approx(kept, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_nearest_in_the_sense_of_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, gap = np.sort(rng.uniform(0.3, 0.7, 6)), 0.1
    rows = [{"type": "ineq", "fun": lambda x, i=i: x[i + 1] - x[i] - gap} for i in range(5)]
    best = optimize.minimize(lambda x: ((x - values) ** 2).sum(), np.linspace(0.1, 0.9, 6), bounds=[(0, 1)] * 6,
                             constraints=rows, method="SLSQP", options={"ftol": 1e-12})  # fmt: skip
    assert apart(list(values), gap, 0.0, 1.0) == pytest.approx(best.x, abs=1e-4)


corners = st.tuples(*[st.floats(-2, 3, allow_nan=False, width=16)] * 4)


@given(st.lists(corners, min_size=1, max_size=4))
def test_the_length_of_a_line_in_a_box_against_many_points_on_it(lines: list[tuple[float, ...]]) -> None:
    boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.5, -1.0, 2.0, 0.25]])
    ends = np.array(lines).reshape(-1, 2, 2)
    found = _within(boxes, ends)
    for number, (start, end) in enumerate(ends):
        points = start + (np.arange(4000)[:, None] + 0.5) / 4000 * (end - start)
        for box, got in zip(boxes, found[:, number], strict=True):
            share = ((points > box[:2]) & (points < box[2:])).all(axis=1).mean()
            along_an_edge = any(start[i] == end[i] and start[i] in box[[i, i + 2]] for i in (0, 1))
            if not along_an_edge:
                assert got == pytest.approx(share * np.hypot(*(end - start)), abs=0.005)


def test_which_lines_cross() -> None:
    lines = np.array([[[0, 0], [2, 2]], [[0, 3], [1, 3]]], dtype=float)
    others = np.array([[[0, 2], [2, 0]], [[3, 3], [4, 4]], [[0.5, 4], [0.5, 2.5]], [[0, 1], [0, 9]]], dtype=float)
    assert _crossings(lines, others).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert _crossings(lines, np.empty((0, 2, 2))).shape == (2, 0)


def test_long_names_are_broken_where_their_parts_meet() -> None:
    assert broken("reinforce_pp_with_batch_baseline", 18) == "reinforce_pp_with_\nbatch_baseline"
    assert broken("grpo", 18) == "grpo"
    assert broken("a" * 30, 18) == "a" * 30


def test_a_legend_is_as_wide_as_the_figure_allows() -> None:
    names = ["grpo", "dapo", "gspo", "rloo"]
    assert legend_columns(names, 7.0) == 4
    assert legend_columns(names, 3.3) < 4
    assert legend_columns(["x" * 80, "y" * 80], 7.0) == 1
