"""When the next request may begin: rate limits, the server's own wishes, and growing random waits."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

FIRST_WAIT = 1.0  # seconds; doubled with every failure of the same rollout
LONGEST_WAIT = 60.0


class Clock:
    """Time and chance; tests put their own in its place."""

    def now(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Sleep, or less if everything is to stop."""
        stop.wait(seconds)

    def jitter(self, most: float) -> float:
        """A random wait from 0 to ``most`` seconds."""
        return random.uniform(0.0, most)


def backoff(clock: Clock, failures: int) -> float:
    """Seconds to wait after that many failures in a row: exponential with full jitter, so that clients do not march
    in step (the wait is uniform between 0 and the limit)."""
    return clock.jitter(min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - 1, 30)))


class Bucket:
    """So many units a minute: over any time t no more than ``t * per_minute / 60`` units and one request begin."""

    def __init__(self, per_minute: float) -> None:
        self._seconds = 60.0 / per_minute
        self._free_at = 0.0

    def book(self, now: float, units: float) -> float:
        """The moment at which a request of that size may begin."""
        start = max(now, self._free_at)
        self._free_at = start + units * self._seconds
        return start

    def correct(self, units: float) -> None:
        """What a request turned out to cost beyond what was booked (negative: below)."""
        self._free_at += units * self._seconds


@dataclass
class Pace:
    """Limits of requests and tokens a minute, and pauses the server asks for, shared by all threads."""

    requests: Bucket | None
    tokens: Bucket | None
    _paused_until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def book(self, now: float, tokens: float) -> float:
        """The moment at which a request of so many tokens may begin."""
        with self._lock:
            start = max(now, self._paused_until)
            if self.requests is not None:
                start = self.requests.book(start, 1.0)
            if self.tokens is not None:
                start = self.tokens.book(start, tokens)
            return start

    def correct(self, tokens: float) -> None:
        """As ``Bucket.correct``, in tokens."""
        with self._lock:
            if self.tokens is not None:
                self.tokens.correct(tokens)

    def pause(self, until: float) -> None:
        """Nothing begins before that."""
        with self._lock:
            self._paused_until = max(self._paused_until, until)


@dataclass
class Health:
    """Whether the endpoint is down for all: nothing but failures for ``patience`` seconds, and every thread had one.

    A rollout that fails again and again while the others take their time is not the endpoint being down.
    """

    patience: float
    _failed: set[int] = field(default_factory=set)
    _since: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def answered(self) -> None:
        with self._lock:
            self._failed.clear()

    def failed(self, now: float, threads: int) -> bool:
        """Book a failure of this thread; True when all ``threads`` have failed for so long that it is down."""
        with self._lock:
            self._since = self._since if self._failed else now
            self._failed.add(threading.get_ident())
            return len(self._failed) >= threads and now - self._since >= self.patience
