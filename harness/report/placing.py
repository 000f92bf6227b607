"""Names beside the things they name: at the ends of lines, and beside points, without lying over each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from groupwise.harness.report.drawing import CHARACTER, Look

Array = NDArray[np.float64]

PITCH = 0.125  # inches from one line of type to the next
# Of the axes' width: a leader reaches the height of its name, the leader ends, the name begins.
BEND, FOOT, NAME = 1.07, 1.1, 1.11
# Where a name may stand from its point: distances in points of type, and directions.
RADII = (4.0, 7.0, 11.0, 16.0, 22.0, 30.0, 40.0, 52.0, 66.0, 82.0, 100.0, 120.0, 140.0)
DIRECTIONS = 24
SWEEPS = 3  # times that each name is placed: the first ones did not know where the others would go


def apart(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places within [low, high] in the order of `values`, at least `gap` from each other, near the values.

    Least squares under the constraint (isotonic regression by pooling neighbours). Where the room is too small for all,
    the places are spread evenly over it.
    """
    if not values:
        return []
    gap = min(gap, (high - low) / max(len(values) - 1, 1))
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    pools: list[tuple[float, int]] = []  # mean of value less its offset, members
    for rank, i in enumerate(order):
        mean, size = values[i] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            before, members = pools.pop()
            mean, size = (before * members + mean * size) / (members + size), members + size
        pools.append((mean, size))
    top = high - (len(values) - 1) * gap
    free = [min(max(mean, low), top) for mean, size in pools for _ in range(size)]
    places = dict(zip(order, (place + rank * gap for rank, place in enumerate(free)), strict=True))
    return [places[i] for i in range(len(values))]


def room_at_the_end(names: Sequence[str]) -> float:
    """Inches right of the axes that names at the ends of lines take."""
    return 0.25 + CHARACTER * max(map(len, names))


def end_names(axis: Axes, ends: Mapping[str, tuple[float, float, Look]], height: float) -> None:
    """Names right of the axes beside the ends (x, y) of their lines. height: of the axes, in inches.

    The limits of the axes are fixed by this.
    """
    axis.set_xlim(axis.get_xlim())
    axis.set_ylim(axis.get_ylim())
    inside = axis.transScale + axis.transLimits
    starts = [tuple(map(float, inside.transform((x, y)))) for x, y, _ in ends.values()]
    places = apart([y for _, y in starts], PITCH / height, 0.02, 0.98)
    for (name, (_, _, look)), (x, y), place in zip(ends.items(), starts, places, strict=True):
        # Level before its name: a slanted line would pass the names between, and could end at any of them.
        axis.plot([x, BEND, FOOT], [y, place, place], transform=axis.transAxes, color=look.colour, linewidth=0.5,
                  clip_on=False, zorder=1.5)  # fmt: skip
        axis.text(NAME, place, name, transform=axis.transAxes, va="center", color=look.colour)


def point_names(
    axis: Axes,
    points: Mapping[str, tuple[float, float]],
    bars: Sequence[tuple[Array, Array]],
    colours: Mapping[str, str] | None = None,
) -> None:
    """Names beside their points, each where it covers least; a line leads to it where it could be another's.

    bars: ends (x, y) of lines that names should rather not cover. colours: of names, black where there is none. The
    figure must have its final layout.
    """
    if not points:
        return
    scale = axis.figure.dpi / 72
    spots: Array = axis.transData.transform(list(points.values()))
    inks = np.array([axis.transData.transform(np.vstack(ends)) for ends in bars]).reshape(-1, 2, 2)
    inside = axis.transAxes.inverted()
    # On white: a name that has to lie on lines can still be read.
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.85}
    texts = [
        axis.text(0, 0, name, transform=axis.transAxes, ha="center", va="center", fontsize=6.5, zorder=5,
                  color=(colours or {}).get(name, "black"), bbox=paper)
        for name in points
    ]  # fmt: skip
    extents = [text.get_window_extent() for text in texts]
    sizes = np.array([(extent.width, extent.height) for extent in extents]) + 1.5 * scale
    boxes = _placed(spots, sizes, inks, axis.get_window_extent(), scale)
    for i, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        text.set_position(tuple(inside.transform((box[:2] + box[2:]) / 2)))
        if _stray(box, spots, i, scale):
            leader = inside.transform(np.vstack(_leaders(box[None], spots[i])[0]))
            axis.plot(*leader.T, transform=axis.transAxes, color=text.get_color(), linewidth=0.6, zorder=3.5)


def _placed(spots: Array, sizes: Array, inks: Array, frame: Bbox, scale: float) -> Array:
    """A box (names, 4) for every name: greedy, those with the nearest neighbours first, then again given the others."""
    near = np.sort(np.hypot(*(spots[:, None] - spots[None]).transpose(2, 0, 1)), axis=1)[:, 1:3].sum(axis=1)
    markers = np.column_stack([spots - 3 * scale, spots + 3 * scale])
    chosen: dict[int, Array] = {}
    for i in np.tile(np.argsort(near, kind="stable"), SWEEPS):
        taken = {j: box for j, box in chosen.items() if j != i}
        names = np.array(list(taken.values())).reshape(-1, 4)
        lines = np.array([_leaders(box[None], spots[j])[0] for j, box in taken.items()]).reshape(-1, 2, 2)
        width, height = sizes[i]
        boxes, distance = _candidates(spots[i], width, height, scale)
        leaders = _leaders(boxes, spots[i])
        others = np.vstack([np.delete(markers, i, axis=0), names])
        cost = 0.012 * distance / scale + 3 * _overlap(boxes, others) / (width * height)
        # Lines under a name, in heights of the type: one along it hurts more than one across.
        cost += 0.2 * _within(boxes, inks).sum(axis=1) / height + 0.5 * _within(boxes, lines).sum(axis=1) / height
        cost += 0.5 * _within(others, leaders).sum(axis=0) / height + 0.3 * _crossings(leaders, lines).sum(axis=1)
        cost += 50 * ((boxes[:, :2] < frame.min) | (boxes[:, 2:] > frame.max)).any(axis=1)
        chosen[int(i)] = boxes[int(np.argmin(cost))]
    return np.array([chosen[i] for i in range(len(spots))])


def _stray(box: Array, spots: Array, own: int, scale: float) -> bool:
    """Whether a name's own point is far from it, or another point nearly as near."""
    away = np.hypot(*(np.clip(spots, box[:2], box[2:]) - spots).T)
    return bool(away[own] > 8 * scale or np.delete(away, own).min(initial=math.inf) < away[own] + 2 * scale)


def _leaders(boxes: Array, spot: Array) -> Array:
    """Lines (boxes, 2, 2) from the nearest place of each box to a point."""
    starts = np.clip(spot, boxes[:, :2], boxes[:, 2:])
    return np.stack([starts, np.broadcast_to(spot, starts.shape)], axis=1)


def _within(boxes: Array, lines: Array) -> Array:
    """Length (boxes, lines) of each line (lines, 2, 2) inside each box (boxes, 4)."""
    start, way = lines[None, :, 0], lines[None, :, 1] - lines[None, :, 0]
    slope = np.where(np.abs(way) < 1e-9, 1e-9, way)
    enter, leave = (boxes[:, None, :2] - start) / slope, (boxes[:, None, 2:] - start) / slope
    first = np.minimum(enter, leave).max(axis=2).clip(0.0, 1.0)
    last = np.maximum(enter, leave).min(axis=2).clip(0.0, 1.0)
    length: Array = np.maximum(last - first, 0.0) * np.hypot(way[..., 0], way[..., 1])
    return length


def _crossings(lines: Array, others: Array) -> Array:
    """Whether (lines, others) two lines cross."""

    def side(ends: Array, points: Array) -> Array:
        along, to = ends[:, 1] - ends[:, 0], points[None] - ends[:, None, 0]
        turn: Array = np.sign(along[:, None, 0] * to[..., 1] - along[:, None, 1] * to[..., 0])
        return turn

    apart_here = side(lines, others[:, 0]) * side(lines, others[:, 1]) < 0
    apart_there = side(others, lines[:, 0]) * side(others, lines[:, 1]) < 0
    crossed: Array = (apart_here & apart_there.T).astype(np.float64)
    return crossed


def _candidates(spot: Array, width: float, height: float, scale: float) -> tuple[Array, Array]:
    """Boxes (candidates, 4) around a point as x0, y0, x1, y1, and how far each is from it."""
    angles = 2 * math.pi * np.arange(DIRECTIONS) / DIRECTIONS
    towards = np.column_stack([np.cos(angles), np.sin(angles)])
    radii = scale * np.repeat(RADII, DIRECTIONS)
    towards = np.tile(towards, (len(RADII), 1))
    # Wholly within a quadrant, between the bars of a cross, unless the direction is along one of them.
    sides = np.where(np.abs(towards) < 0.2, 0.0, np.sign(towards))
    half = np.array([width, height]) / 2
    centres = spot + radii[:, None] * towards + sides * half
    return np.column_stack([centres - half, centres + half]), radii


def _overlap(boxes: Array, others: Array) -> Array:
    """Area that each box (candidates, 4) shares with all of `others`."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area: Array = np.prod(np.maximum(high - low, 0), axis=2).sum(axis=1)
    return area
