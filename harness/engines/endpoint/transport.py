"""One attempt: a request over HTTP, and what becomes of it: an answer, a failure that may pass, or a refusal."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from groupwise.harness.engines.endpoint import wire
from groupwise.harness.engines.endpoint.address import is_loopback, scrubbed
from groupwise.harness.engines.endpoint.pace import Clock
from groupwise.harness.errors import InputError, from_extra

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS = 10.0
MAX_ANSWER_BYTES = 32 * 1024 * 1024  # 32k tokens with log-probabilities are about 7 MB
MAX_REFUSAL_BYTES = 64 * 1024
# Wrong for this endpoint as a whole: key, address, model. Others may be wrong for one prompt only.
HOPELESS = frozenset((401, 402, 403, 404, 405, 501))


class Again(Exception):
    """A failure that may pass. ``wait``: seconds that the server asks for. ``down``: not merely too many requests."""

    def __init__(self, reason: str, wait: float | None = None, down: bool = True) -> None:
        super().__init__(reason)
        self.wait = wait
        self.down = down


class Refused(Exception):
    """Asking again would not help. ``hopeless``: nor would asking for anything else.

    ``status``: of HTTP, 0 without one. ``said``: the server's words in full.
    """

    def __init__(self, reason: str, status: int = 0, said: str = "", hopeless: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.said = said
        self.hopeless = hopeless


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response, read whole."""

    status: int
    headers: httpx2.Headers
    content: bytes


class Transport:
    """An endpoint's address and key, and the connections to it. Used by several threads at once."""

    def __init__(self, base: str, key: str | None, connections: int, clock: Clock) -> None:
        try:
            import httpx2
        except ModuleNotFoundError as error:
            raise InputError(f"endpoint: needs httpx2: {from_extra('endpoint')}") from error
        self.base = base
        self._key = key
        self._clock = clock
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "groupwise"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx2.Client(
            headers=headers,
            follow_redirects=False,  # the key, and the prompts, are for this host alone
            trust_env=not is_loopback(base),  # no proxy leads to this machine
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    def close(self) -> None:
        self._client.close()

    def call(self, path: str, body: dict[str, object] | None, seconds: float) -> dict[str, Any]:
        """The JSON object that a POST of ``body`` (None: a GET) is answered with. Raises Again or Refused."""
        reply = self._exchange(path, body, seconds)
        if reply.status == 200:
            try:
                return scrubbed(wire.parse(reply.content), self._key)
            except wire.Malformed as error:
                raise Again(str(error)) from error
        raise self._failure(reply)

    def _exchange(self, path: str, body: dict[str, object] | None, seconds: float) -> Reply:
        import httpx2

        deadline = self._clock.now() + seconds
        timeout = httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds), pool=None)
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        method = "GET" if body is None else "POST"
        try:
            with self._client.stream(
                method, self.base + path, content=content, headers=headers, timeout=timeout
            ) as response:
                return Reply(response.status_code, response.headers, self._read(response, deadline, seconds))
        except httpx2.ConnectTimeout as error:
            raise Again(f"no connection in {CONNECT_SECONDS:g} s") from error
        except httpx2.TimeoutException as error:
            raise Again(f"no answer in {seconds:g} s") from error
        except httpx2.HTTPError as error:
            said = wire.shortened(scrubbed(str(error), self._key))
            if _is_certificate_failure(error):
                raise Refused(f"its certificate is not trusted ({said})", hopeless=True) from error
            raise Again(f"the connection failed ({type(error).__name__}: {said})") from error

    def _read(self, response: httpx2.Response, deadline: float, seconds: float) -> bytes:
        """The body, of bounded size, in bounded time. A refusal's is cut, an answer's is not."""
        good = response.status_code == 200
        if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
            if good:  # unpacked, it could be of any size
                raise Refused("the answer is compressed, which was not asked for", hopeless=True)
            return b""
        room = MAX_ANSWER_BYTES if good else MAX_REFUSAL_BYTES
        content = bytearray()
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > room:
                if good:
                    raise Refused(f"an answer of more than {MAX_ANSWER_BYTES} bytes", 200)
                break
            if self._clock.now() > deadline:
                raise Again(f"no whole answer in {seconds:g} s")
        return bytes(content)

    def _failure(self, reply: Reply) -> Again | Refused:
        status = reply.status
        said, code = wire.error_message(reply.content)
        said = scrubbed(said, self._key)
        words = wire.shortened(said)
        reason = f"HTTP {status}: {words}" if words else f"HTTP {status}"
        if 300 <= status < 400:
            host = urlsplit(reply.headers.get("Location", "")).netloc.rpartition("@")[2]
            there = wire.shortened(scrubbed(host, self._key)) or "elsewhere"
            return Refused(f"HTTP {status}, a redirect to {there}, which is not followed", status, hopeless=True)
        if status == 429 and code == "insufficient_quota":
            return Refused(reason, status, said, hopeless=True)
        if status in (408, 409, 429) or (status >= 500 and status != 501):
            return Again(reason, retry_after(reply.headers), down=status != 429)
        return Refused(reason, status, said, hopeless=status in HOPELESS)


def retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that the server asks to wait, or None. A date is set against the server's own clock where it tells it."""
    text = headers.get("Retry-After", "").strip()
    try:
        return max(0.0, min(float(text), 1e9)) if text[:1].isdigit() else _until(text, headers.get("Date", ""))
    except (ValueError, OverflowError):
        return None


def _until(date: str, today: str) -> float | None:
    if not date:
        return None
    try:
        now = parsedate_to_datetime(today)
    except ValueError:
        now = datetime.now(UTC)
    return max(0.0, (_aware(parsedate_to_datetime(date)) - _aware(now)).total_seconds())


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _is_certificate_failure(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
