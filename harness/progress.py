"""One progress display for a whole run: a bar with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LINE_EVERY = 15.0
SHARE = 0.02  # of all work, before its speed says when the rest will be done


class Display:
    """Shows how much of the work (``sizes``: unit -> rollouts) is done, and when the rest will be.

    Work found done on disk when a run is resumed moves the bar but not the estimate of the speed, which begins anew
    with ``measure_anew``, where another kind of work begins.
    """

    def __init__(self, sizes: Mapping[str, int], stream: Console | None = None) -> None:
        self.sizes = dict(sizes)
        self.done = dict.fromkeys(sizes, 0)
        self.console = stream or Console(file=sys.stderr)
        self.started = self.last_line = time.monotonic()
        self.measured, self.restored = self.started, 0
        self.bar: Progress | None = None
        self.rows: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description:<34}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(), TextColumn("{task.fields[left]}"),
            )  # fmt: skip
            self.bar = Progress(*columns, console=self.console)
            self.rows[""] = self.bar.add_task("all", total=sum(self.sizes.values()), left="")
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, unit: str, rollouts: int, restored: bool = False) -> None:
        """Some rollouts of a unit are there; ``restored`` ones were found on disk."""
        room = self.sizes[unit] - self.done[unit]
        self.done[unit] += min(rollouts, room)
        self.restored += min(rollouts, room) if restored else 0
        if self.bar and unit not in self.rows:
            self.rows[unit] = self.bar.add_task(unit, total=self.sizes[unit], left="")
        self._show(unit)

    def finish(self, unit: str) -> None:
        """The unit is done, whatever its size was thought to be."""
        self.restored += self.sizes[unit] - self.done[unit]  # found done, or never reported: no speed to learn from
        self.done[unit] = self.sizes[unit]
        if self.bar and unit in self.rows:
            self.bar.remove_task(self.rows.pop(unit))
        self._show(None)

    def say(self, words: str) -> None:
        """Lines that stay, above the bar where there is one."""
        self.console.print(words, markup=False, highlight=False, soft_wrap=True)

    def measure_anew(self) -> None:
        """What was done so far says nothing about the speed of what comes."""
        self.measured, self.restored = time.monotonic(), sum(self.done.values())

    def left(self) -> float | None:
        """Seconds left at the speed so far; None before enough was done to know it."""
        total, done = sum(self.sizes.values()), sum(self.done.values())
        fresh = done - self.restored
        if fresh <= SHARE * total:
            return None
        return (total - done) * (time.monotonic() - self.measured) / fresh

    def _show(self, unit: str | None) -> None:
        done, left = sum(self.done.values()), self.left()
        words = "time left not known yet" if left is None else f"{clock(left)} left"
        if self.bar:
            self.bar.update(self.rows[""], completed=done, left=words)
            if unit is not None:
                self.bar.update(self.rows[unit], completed=self.done[unit])
        elif time.monotonic() - self.last_line >= LINE_EVERY:
            self.last_line = time.monotonic()
            total = sum(self.sizes.values())
            whole = f"{sum(self.done[u] >= self.sizes[u] for u in self.sizes)} of {len(self.sizes)} units"
            so_far = f"{done} of {total}" if len(self.sizes) == 1 else whole
            gone = clock(self.last_line - self.started)
            self.console.print(f"{100 * done / max(1, total):3.0f} %  {so_far} done, {gone} gone, {words}")


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
