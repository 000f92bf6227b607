"""Attempts until one succeeds: which failures are waited out, for how long, and when to leave the endpoint alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from groupwise.harness.engines.endpoint.pace import Clock, Health, Pace, backoff
from groupwise.harness.engines.endpoint.transport import Again, Refused

T = TypeVar("T")

LONGEST_PAUSE = 600.0  # a server that asks to wait longer is done for today
SHORTEST_ATTEMPT = 0.1  # what is left of the deadline may be nothing


class Stopped(Exception):
    """Everything is to stop; this was not asked for."""


class Down(Exception):
    """The endpoint gives nothing to anybody."""


@dataclass
class Persistence:
    """How ``threads`` threads ask the same endpoint. Fields as in ``OpenAIEngine``; ``tries`` None: no limit."""

    clock: Clock
    pace: Pace
    health: Health
    threads: int
    timeout: float
    deadline: float
    tries: int | None
    stop: threading.Event = field(default_factory=threading.Event)

    def insist(self, attempt: Callable[[float], T], tokens: float) -> T:
        """What ``attempt(seconds it may take)`` gives at last. ``tokens``: its cost against the rate limit.

        Raises Refused when trying again would not help, or was tried enough; Down; Stopped.
        """
        began, failures = self.clock.now(), 0
        while True:
            self._wait_until(self.pace.book(self.clock.now(), tokens))
            left = began + self.deadline - self.clock.now()
            try:
                found = attempt(max(SHORTEST_ATTEMPT, min(self.timeout, left)))
            except Again as failure:
                failures += 1
                self._bear(failure, failures, began)
            else:
                self.health.answered()
                return found

    def _bear(self, failure: Again, failures: int, began: float) -> None:
        """Wait after a failure, or give up."""
        now = self.clock.now()
        if failure.down and self.health.failed(now, self.threads):
            raise Down(f"no answer for {self.health.patience:g} s; the last failure: {failure}") from None
        if failure.wait is not None and failure.wait > LONGEST_PAUSE:
            raise Refused(f"{failure}; it asks to wait {failure.wait:.0f} s", hopeless=True) from None
        if failures == self.tries or now - began >= self.deadline:
            raise Refused(f"{failure} ({failures} tries)") from None
        if failure.wait is not None:
            self.pace.pause(now + failure.wait)
        self._wait_until(now + backoff(self.clock, failures))

    def _wait_until(self, moment: float) -> None:
        seconds = moment - self.clock.now()
        if seconds > 0:
            self.clock.wait(seconds, self.stop)
        if self.stop.is_set():
            raise Stopped
