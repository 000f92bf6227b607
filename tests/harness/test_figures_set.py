"""The whole set of figures from made-up summaries: what is drawn, what it shows, that no text is cut."""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_summaries import NAMES, made
from matplotlib.axes import Axes
from matplotlib.colors import same_color, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from groupwise.harness.report import dots, drawing, figures, forest, multiples, progress, tradeoff

TASK = "write_sum"
PER_TASK = ["curve", "tokens", "pass-at-k", "trade-off", "differences", "ranks", "seeds", "breakdown", "lengths"]
Summary = dict[str, Any]


@pytest.fixture(scope="module")
def seven() -> tuple[Summary, pd.DataFrame]:
    return made(NAMES[:7])


@pytest.fixture(autouse=True, scope="module")
def style() -> Iterator[None]:
    with drawing.styled():
        yield


@pytest.fixture(scope="module")
def few(seven: tuple[Summary, pd.DataFrame]) -> dict[str, drawing.Drawing]:
    return {found.name: found for found in figures.drawings(*seven)}


@pytest.fixture(scope="module")
def many() -> dict[str, drawing.Drawing]:
    return {found.name: found for found in figures.drawings(*made(NAMES[:11]))}


def names(*, crowded: bool) -> list[str]:
    ends = [f"{kind}-{TASK}-level" if kind == "breakdown" else f"{kind}-{TASK}" for kind in PER_TASK]
    return [*ends, "training", *(["entropy", "length", "truncated"] if crowded else ["length"])]


def test_the_set_is_complete(few: dict[str, drawing.Drawing], many: dict[str, drawing.Drawing]) -> None:
    assert list(few) == names(crowded=False)
    assert list(many) == names(crowded=True)


def test_one_column_unless_every_optimizer_needs_a_panel(
    few: dict[str, drawing.Drawing], many: dict[str, drawing.Drawing]
) -> None:
    assert {found.figure.get_figwidth() for found in few.values()} == {drawing.COLUMN}
    wide = {
        name.removesuffix(f"-{TASK}") for name, found in many.items() if found.figure.get_figwidth() > drawing.COLUMN
    }
    lines = {"curve", "tokens", "pass-at-k", "training", "entropy", "length", "truncated"}
    assert wide == {*lines, "trade-off", f"breakdown-{TASK}-level"}
    assert {found.figure.get_figwidth() for found in many.values()} <= {drawing.COLUMN, drawing.WIDTH}


def test_every_figure_is_titled_and_explained(few: dict[str, drawing.Drawing]) -> None:
    for found in few.values():
        assert found.figure.get_suptitle().replace("\n", " ") == found.title
        assert len(found.caption) > 80
    for kind in ("curve", "pass-at-k", "differences", "seeds", "lengths"):
        assert "95 %" in few[f"{kind}-{TASK}"].caption, kind
    for kind in ("pass-at-k", "trade-off", "differences", "seeds", "lengths"):
        assert "100 problems × 16 samples × 3 seeds" in few[f"{kind}-{TASK}"].caption, kind


@pytest.mark.parametrize("count", [2, 9, 11])
def test_no_text_is_cut(count: int) -> None:
    # The longest name among them, whatever the number.
    summary, steps = made([*NAMES[: count - 1], "reinforce_pp_with_batch_baseline"])
    for found in figures.drawings(summary, steps):
        drawing.settle(found.figure)
        found.figure.draw_without_rendering()
        frame = found.figure.bbox
        for text in texts(found.figure):
            box = Text.get_window_extent(text)
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= frame.x1 + 1 and box.y1 <= frame.y1 + 1
            assert inside, (found.name, text.get_text(), box.extents, frame.extents)


def texts(part: Figure | Axes) -> list[Text]:
    """Texts of a figure or of one of its axes that are seen."""
    found = [text for text in part.findobj(Text) if isinstance(text, Text) and text.get_text() and text.get_visible()]
    axes = part.axes if isinstance(part, Figure) else [part]
    hidden = {id(text) for axis in axes if not axis.get_visible() for text in axis.findobj(Text)}
    unseen = {
        id(label)
        for axis in axes
        for side, ticks in ((axis.xaxis, axis.xaxis.get_major_ticks()), (axis.yaxis, axis.yaxis.get_major_ticks()))
        for tick in ticks
        for label in (tick.label1, tick.label2)
        if not label.get_visible() or not in_view(axis, side is axis.xaxis, tick.get_loc()) or not axis.axison
    }
    return [text for text in found if id(text) not in hidden | unseen]


def in_view(axis: Axes, horizontal: bool, place: float) -> bool:
    low, high = sorted(axis.get_xlim() if horizontal else axis.get_ylim())
    return low <= place <= high


@pytest.mark.parametrize("reach", [0.04, 0.08, 0.13, 0.2, 0.3, 0.5])
def test_no_tick_of_differences_lies_over_another(reach: float) -> None:
    summary, _ = made(["grpo", "gapo_group_aware"])
    content = summary["tasks"][TASK]
    for family in content["differences"]["grpo"].values():
        for row in family.values():
            row |= {"value": -reach / 2, "low": -reach, "high": 0.0, "minimum_detectable": reach / 3}
    figure = forest.differences(summary, TASK, content).figure
    figure.draw_without_rendering()
    for axis in figure.axes:
        ticks = {id(label) for label in axis.get_xticklabels()}
        boxes = sorted((Text.get_window_extent(t) for t in texts(axis) if id(t) in ticks), key=lambda box: box.x0)
        assert len(boxes) > 1
        assert all(one.x1 < two.x0 for one, two in itertools.pairwise(boxes))


@pytest.mark.parametrize("count", [7, len(NAMES)])
def test_names_of_points_lie_over_nothing(count: int) -> None:
    summary, _ = made(NAMES[:count])
    found = tradeoff.drawing(summary, TASK, summary["tasks"][TASK], "distinct_right")
    found.figure.draw_without_rendering()
    axis = found.figure.axes[0]
    labels = [text for text in axis.texts if text.get_text()]
    assert len(labels) == count + 1
    boxes = [Text.get_window_extent(text) for text in labels]
    for (one, first), (two, second) in itertools.combinations(zip(labels, boxes, strict=True), 2):
        shared = [
            min(first.x1, second.x1) - max(first.x0, second.x0),
            min(first.y1, second.y1) - max(first.y0, second.y0),
        ]
        assert min(shared) < 0.15 * min(first.height, second.height), (one.get_text(), two.get_text())
    patches = [text.get_bbox_patch() for text in labels]
    assert all(patch and same_color(patch.get_facecolor()[:3], "white") for patch in patches)
    # Over all lines, those to the other names among them.
    assert min(text.get_zorder() for text in labels) > max(line.get_zorder() for line in axis.lines)


@pytest.mark.parametrize("kind", ["curve", "pass-at-k"])
def test_a_line_leads_to_the_left_end_of_its_own_name(few: dict[str, drawing.Drawing], kind: str) -> None:
    figure = few[f"{kind}-{TASK}"].figure
    drawing.settle(figure)
    figure.draw_without_rendering()
    axis = figure.axes[0]
    names = [text for text in axis.texts if text.get_text()]
    leaders = [line for line in axis.lines if line.get_transform() == axis.transAxes]
    assert len(names) == len(leaders) >= 7
    boxes = [Text.get_window_extent(text) for text in names]
    assert all(line.get_window_extent().x1 < min(box.x0 for box in boxes) for line in leaders)
    for text, box, leader in zip(names, boxes, leaders, strict=True):
        *_, bend, foot = axis.transAxes.transform(leader.get_xydata())
        assert bend[1] == foot[1] == pytest.approx((box.y0 + box.y1) / 2, abs=0.2 * box.height), text.get_text()
        assert box.x0 - foot[0] < box.height, text.get_text()
        assert same_color(leader.get_color(), text.get_color())


def test_a_name_has_the_colour_of_its_line(
    few: dict[str, drawing.Drawing], seven: tuple[Summary, pd.DataFrame]
) -> None:
    axis, look = few[f"pass-at-k-{TASK}"].figure.axes[0], drawing.looks(seven[0])
    rows = seven[0]["tasks"][TASK]["labels"]
    assert len(axis.texts) == len(rows)
    for text in axis.texts:
        label = text.get_text().removesuffix("†")
        assert same_color(text.get_color(), look[label].colour)
        end = rows[label]["pass_at_k"]["16"]["value"]
        assert any(same_color(line.get_color(), text.get_color()) and list(line.get_ydata())[-1] == end
                   for line in axis.lines), label  # fmt: skip


def test_base_is_behind_every_pass_at_k(few: dict[str, drawing.Drawing], seven: tuple[Summary, pd.DataFrame]) -> None:
    found = few[f"pass-at-k-{TASK}"]
    content = seven[0]["tasks"][TASK]["labels"]
    expected = [content["base"]["pass_at_k"][str(k)]["value"] for k in seven[0]["tasks"][TASK]["k"]]
    panels = {axis.get_title().replace("\n", ""): axis for axis in found.figure.axes[1:]}
    assert set(panels) == {"base", *(f"{name}†" if "gcpo" in name else name for name in NAMES[1:7])}
    for title, axis in panels.items():
        assert sum(list(line.get_ydata()) == expected for line in axis.lines) == 1, title
    assert "over grpo (black) and base (grey, dotted)" in found.caption
    assert "base" not in few[f"curve-{TASK}"].caption


def test_a_breakdown_has_the_order_of_the_tables(
    few: dict[str, drawing.Drawing], seven: tuple[Summary, pd.DataFrame]
) -> None:
    figure = few[f"breakdown-{TASK}-level"].figure
    order = [text.get_text().removesuffix("†") for text in figure.legends[0].get_texts()]
    assert order == seven[0]["labels"]
    first = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", "")][: len(order)]
    rows = seven[0]["tasks"][TASK]["breakdown"]["level"]["1"]["labels"]
    assert [line.get_xdata()[0] for line in first] == [rows[label]["value"] for label in order]
    assert sorted(line.get_ydata()[0] for line in first) == [line.get_ydata()[0] for line in first]


def test_more_of_a_measure_of_all_answers_is_not_called_better(seven: tuple[Summary, pd.DataFrame]) -> None:
    summary = copy.deepcopy(seven[0])
    content = summary["tasks"][TASK]
    summary["measures"]["entropy"] = {"title": "Answer entropy", "unit": "bits", "note": "of all answers"}
    for row in content["labels"].values():
        row["diversity"]["entropy"] = row["diversity"]["distinct_right"]
    right, every = (tradeoff.drawing(summary, TASK, content, column) for column in ("distinct_right", "entropy"))
    fronts = [[line for line in one.figure.axes[0].lines if line.get_drawstyle() == "steps-pre"]
              for one in (right, every)]  # fmt: skip
    assert list(map(len, fronts)) == [1, 0]
    # Dark, over the intervals and under the points.
    axis, [line] = right.figure.axes[0], fronts[0]
    intervals = [one for one in axis.lines if one.get_transform() == axis.transData and len(one.get_xdata()) == 2]
    points = [one for one in axis.lines if len(one.get_xdata()) == 1]
    assert len(intervals) == 2 * len(points) == 16
    assert max(one.get_zorder() for one in intervals) < line.get_zorder() < min(one.get_zorder() for one in points)
    assert float(str(line.get_color())) < 0.3
    assert "Dashed" in right.caption
    assert "Up and to the right is better" in right.caption
    assert "Dashed" not in every.caption
    assert "up is not better by itself" in every.caption


def test_the_front_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(3)
    spots = [tuple(map(float, spot)) for spot in rng.random((40, 2))]
    front = tradeoff.front(spots)  # type: ignore[arg-type]
    for spot in spots:
        beaten = any(other[0] > spot[0] and other[1] > spot[1] for other in spots)
        assert (spot in front) != beaten
    assert front == sorted(front)


def test_filled_is_what_survives(few: dict[str, drawing.Drawing], seven: tuple[Summary, pd.DataFrame]) -> None:
    families = seven[0]["tasks"][TASK]["differences"]["grpo"]
    axes = few[f"differences-{TASK}"].figure.axes
    for axis, measure in zip(axes, ("accuracy", "distinct_right"), strict=True):
        dots = [line for line in axis.lines if line.get_marker() == "o"]
        filled = [same_color(line.get_markerfacecolor(), "black") for line in dots]
        assert filled == [row["survives"] for row in families[measure].values()]
        assert len(set(filled)) == 2, "the summary must have both, or the test shows nothing"
        ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axis.patches]
        expected = [(-row["minimum_detectable"], row["minimum_detectable"]) for row in families[measure].values()]
        np.testing.assert_allclose(ends, expected)


def test_bars_join_the_groups_of_ranks(few: dict[str, drawing.Drawing], seven: tuple[Summary, pd.DataFrame]) -> None:
    ranks = seven[0]["tasks"][TASK]["ranks"]
    axis, side = few[f"ranks-{TASK}"].figure.axes
    rows = [text.get_text().replace("\n", "").removesuffix("†") for text in axis.get_yticklabels()]
    order = dict(zip(ranks["labels"], ranks["mean_ranks"], strict=True))
    assert rows == sorted(order, key=order.__getitem__)
    joined = [{row for place, row in enumerate(rows) if bar.get_ydata()[0] < place < bar.get_ydata()[1]}
              for bar in side.lines]  # fmt: skip
    assert joined == [set(group) for group in ranks["groups"] if len(group) > 1]


def test_a_seed_has_one_marker(few: dict[str, drawing.Drawing], seven: tuple[Summary, pd.DataFrame]) -> None:
    axis = few[f"seeds-{TASK}"].figure.axes[0]
    content = seven[0]["tasks"][TASK]["labels"]
    dots = [line for line in axis.lines if line.get_linestyle() == "None"]
    assert len({line.get_marker() for line in dots}) == len(dots) == 3
    for seed, line in enumerate(dots):
        expected = [row["per_seed"][seed]["accuracy"]["value"] for row in content.values() if row["per_seed"]]
        assert list(line.get_xdata()) == expected


def test_collapse_is_marked_where_it_was_found(
    few: dict[str, drawing.Drawing], many: dict[str, drawing.Drawing]
) -> None:
    places = [128.0 * 40, 128.0 * 49]
    axes = few["training"].figure.axes
    marked = {axis.get_title(): [list(line.get_xdata()) for line in axis.lines if line.get_marker() == "X"
                                 and same_color(line.get_color(), "black")] for axis in axes}  # fmt: skip
    assert marked["Mixed groups (share)"] == marked["Policy entropy"] == [places, places]
    assert marked["All-wrong groups (share)"] == []
    assert "4 of 21 in all (rule: entropy below a tenth" in few["training"].caption
    panel = next(axis for axis in many["entropy"].figure.axes if axis.get_title() == "dr_grpo")
    assert [list(line.get_xdata()) for line in panel.lines if line.get_marker() == "X"] == [places]


def test_bands_only_where_they_can_be_told_apart(few: dict[str, drawing.Drawing]) -> None:
    summary, steps = made(NAMES[:5])
    found = {one.name: one for one in progress.training(summary, steps)}
    for name in ("training", "length"):
        assert [len(axis.collections) for axis in found[name].figure.axes] == [5] * len(found[name].figure.axes)
        assert "the band runs from the lowest to the highest seed (it is" in found[name].caption
        assert not any(axis.collections for axis in few[name].figure.axes)
        assert "left out" in few[name].caption


@pytest.mark.parametrize(
    ("share", "panels", "words"),
    [(0.0, 1, "No completion was cut"), (0.009, 1, "Below 1 % of every optimizer's"), (0.011, 2, "")],
)
def test_the_share_cut_has_a_panel_from_one_in_a_hundred(share: float, panels: int, words: str) -> None:
    summary, steps = made(NAMES[:2])
    steps["truncated_share"] = np.where(steps["label"] == NAMES[1], share, 0.0)
    found = {one.name: one for one in progress.training(summary, steps)}["length"]
    assert len(found.figure.axes) == panels
    assert ("cut at the length limit" in found.caption) == bool(words)
    assert words in found.caption
    wide = {one.name: one for one in multiples.training(summary, steps)}
    assert ("truncated" in wide) == (panels == 2)
    assert words in wide["length"].caption


def test_dollar_signs_are_no_formulas() -> None:
    strange = "a $x^{$ b"
    summary, steps = made([NAMES[0], strange], tasks=[strange])
    content = summary["tasks"][strange]
    levels = content["breakdown"].pop("level")
    content["breakdown"][strange] = {strange: levels["1"], "2": levels["2"]}
    for one in figures.drawings(summary, steps):
        one.figure.draw_without_rendering()
        assert any(strange in text.get_text().replace("\n", " ") for text in texts(one.figure)), one.name


def test_a_summary_without_the_optional_parts(seven: tuple[Summary, pd.DataFrame]) -> None:
    summary = copy.deepcopy(seven[0])
    content = summary["tasks"][TASK]
    del summary["collapse"], content["ranks"], content["breakdown"]
    for row in content["labels"].values():
        del row["per_seed"]
        row["diversity"], row["truncated"]["value"] = {}, 0.0
    for line in content["curve"].values():
        for point in line:
            point["tokens"] = None
    steps = seven[1].drop(columns=["length_mean", "truncated_share"])
    found = {one.name: one for one in figures.drawings(summary, steps)}
    assert list(found) == [f"{kind}-{TASK}" for kind in ("curve", "pass-at-k", "differences", "lengths")] + ["training"]
    assert len(found[f"lengths-{TASK}"].figure.axes) == 1
    assert "No answer was cut" in found[f"lengths-{TASK}"].caption
    assert "collapsed" not in found["training"].caption


def test_what_has_no_value_is_left_out() -> None:
    summary, steps = made(NAMES[:3])
    content = summary["tasks"][TASK]
    for measure in content["differences"]["grpo"].values():
        measure["dapo"] = dict.fromkeys(measure["dapo"]) | {"survives": False}
    row = content["labels"]["dapo"]
    nothing = {**row["accuracy"], "value": None, "low": None, "high": None}
    row["accuracy"] = row["tokens"] = nothing
    row["per_seed"][1]["accuracy"] = nothing
    row["pass_at_k"]["16"] = nothing
    del row["pass_at_k"]["8"]
    content["labels"]["dr_grpo"]["pass_at_k"] = {}
    drawn = list(itertools.islice(figures.drawings(summary, steps), len(PER_TASK)))
    for one in drawn:
        one.figure.draw_without_rendering()
    assert [one.name for one in drawn] == names(crowded=False)[: len(PER_TASK)]
    passes = next(one for one in drawn if one.name == f"pass-at-k-{TASK}").figure
    assert [axis.get_title() for axis in passes.axes[1:]] == ["base", "dapo"]
    own = next(line for line in passes.axes[2].lines if line.get_marker() == drawing.looks(summary)["dapo"].marker)
    assert list(np.isnan(own.get_ydata())) == [False] * 3 + [True] * 2
    for row in content["labels"].values():
        row["pass_at_k"] = {}
        row["per_seed"] = [{**dot, "accuracy": nothing} for dot in row["per_seed"]]
    left = {one.name for one in figures.drawings(summary, steps)}
    assert not left & {f"pass-at-k-{TASK}", f"seeds-{TASK}"}


def test_bytes_size_and_grey(seven: tuple[Summary, pd.DataFrame]) -> None:
    summary, steps = seven
    first, second = (
        [drawing.render(tradeoff.drawing(summary, TASK, summary["tasks"][TASK], "distinct_right")),
         drawing.render(next(progress.training(summary, steps)))]
        for _ in range(2)
    )  # fmt: skip
    for one, two in zip(first, second, strict=True):
        assert one.files == two.files, one.name
        assert max(map(len, one.files.values())) < 300_000, one.name
        grey = np.asarray(Image.open(io.BytesIO(one.files["png"])).convert("L"))
        assert (grey < 90).mean() > 0.005, one.name
        assert grey.shape[1] == int(drawing.COLUMN * drawing.STYLE["figure.dpi"])


@pytest.mark.parametrize("values", [(2.3, 2.7), (30.0, 31.0), (0.0, 0.0)])
def test_lengths_have_room_at_both_ends_and_hide_no_interval(values: tuple[float, float]) -> None:
    summary, _ = made(NAMES[:3])
    content = summary["tasks"][TASK]
    for label, row in content["labels"].items():
        value = values[label == "dapo"]
        row["tokens"] |= {"value": value, "low": value, "high": value + 0.01}
    axis = dots.lengths(summary, TASK, content).figure.axes[0]
    low, high = axis.get_xlim()
    assert low == 0
    assert high >= 1.04 * (max(values) + 0.01)
    means = [line for line in axis.lines if len(line.get_xdata()) == 1]
    assert len(means) == 4
    assert {line.get_marker() for line in means} == {"|"}  # thinner than any interval that can be seen


@pytest.mark.parametrize("count", range(2, drawing.MANY))
def test_no_two_optimizers_of_one_figure_share_a_hue(count: int) -> None:
    summary, _ = made(NAMES[:count])
    assert not drawing.crowded(summary)
    colours = [look.colour for look in drawing.looks(summary).values()]
    assert len(set(colours)) == len(colours) == count + 1


# Machado, Oliveira & Fernandes (2009), of linear RGB: no cones for green, none for red.
SIGHT = {
    "every cone": np.eye(3),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
}  # fmt: skip
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_are_apart_for_colour_blind_eyes(sight: str) -> None:
    assert len(drawing.COLOURS) >= drawing.MANY - 2, "one for every optimizer but the comparator"
    places = {colour: lab(SIGHT[sight] @ linear(colour)) for colour in (*drawing.COLOURS, "black", drawing.GREY)}
    for one, two in itertools.combinations(places, 2):
        # 2.3 is what an eye can just tell apart; the six of Okabe & Ito and the grey alone come to 11.9.
        assert np.linalg.norm(places[one] - places[two]) > 11.5, (one, two)
    for colour in drawing.COLOURS:
        assert 1.05 / (float(XYZ[1] @ linear(colour)) + 0.05) > 2.2, f"{colour} is too light on white"


def linear(colour: str) -> Any:
    """Linear RGB of a colour."""
    values = np.array(to_rgb(colour))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: Any) -> Any:
    """CIE L*a*b* of linear RGB."""
    shares = XYZ @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(shares > 0.008856, np.cbrt(shares), 7.787 * shares + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_no_two_optimizers_look_alike_without_colour(seven: tuple[Summary, pd.DataFrame]) -> None:
    summary, _ = made(NAMES[:9])
    found = [(look.marker, str(look.line)) for look in drawing.looks(summary).values()]
    assert len(set(found)) == len(found)
