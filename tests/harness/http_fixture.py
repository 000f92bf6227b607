"""A server on the loopback that speaks the OpenAI API, or misbehaves as told; and a clock that never waits."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from groupwise.harness.engines.contract import EngineError, Finished, Request, Sampling
from groupwise.harness.engines.endpoint import OpenAIEngine
from groupwise.harness.engines.endpoint.pace import Clock
from groupwise.harness.seeds import seed_of

pytest.importorskip("httpx2", reason="needs httpx2: pip install '.[endpoint]'")

MODEL = "tiny"
WARM = Sampling(20, 1.0)


class FakeClock(Clock):
    """Time moves only when somebody waits; the random wait is always the longest."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waits: list[float] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float, stop: threading.Event) -> None:
        with self._lock:
            self.waits.append(seconds)
            self.time += seconds

    def jitter(self, most: float) -> float:
        return most


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    time: float


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms for an acknowledgement
    server: Server

    def do_GET(self) -> None:
        self.server.arrived.append(self._seen({}))
        self.server.on_models(self)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        seen = self._seen(json.loads(content))
        with self.server.lock:
            self.server.arrived.append(seen)
            number = len(self.server.asked) - 1
            self.server.inside += 1
            self.server.most_inside = max(self.server.most_inside, self.server.inside)
        try:
            self.server.on_post(self, seen.body, number)
        finally:
            with self.server.lock:
                self.server.inside -= 1

    def _seen(self, body: dict[str, Any]) -> Seen:
        return Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body, self.server.clock.now())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""

    def send(self, status: int, content: bytes | dict[str, Any], **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def drop(self) -> None:
        """Hang up without a word."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.clock = clock
        self.lock = threading.Lock()
        self.arrived: list[Seen] = []
        self.inside = self.most_inside = 0
        self.on_models: Callable[[Handler], None] = lambda handler: handler.send(200, models(MODEL))
        self.on_post: Callable[[Handler, dict[str, Any], int], None] = lambda handler, body, _: handler.send(
            200, reply(body)
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def asked(self) -> list[Seen]:
        """The requests for rollouts."""
        return [seen for seen in self.arrived if not seen.path.endswith("/models")]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


@contextlib.contextmanager
def serving(clock: FakeClock | None = None) -> Iterator[Server]:
    server = Server(clock or FakeClock())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def models(*names: str, owned_by: str = "somebody") -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": owned_by} for name in names]}


def text_for(body: dict[str, Any]) -> str:
    """The text that the server gives: it names the prompt and the seed, so that mix-ups show."""
    prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
    return f"{prompt}|{body.get('seed')}"


def reply(body: dict[str, Any], text: str | None = None, **changes: Any) -> dict[str, Any]:
    """A good answer to the request."""
    text = text_for(body) if text is None else text
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
    choice |= {"text": text} if "prompt" in body else {"message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return {
        "id": "x",
        "model": body["model"],
        "choices": [choice | changes.pop("choice", {})],
        "usage": usage,
    } | changes


def refusal(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


def requests_of(count: int, samples: int = 1, text: bool = False) -> list[Request]:
    """``count`` prompts p0, p1, ... with so many seeds each."""
    return [
        Request(
            prompt=(),
            seeds=tuple(seed_of("http", i, j) for j in range(samples)),
            problem=f"task/{i}",
            indices=tuple(range(samples)),
            messages=({"role": "user", "content": f"p{i}"},),
            text=f"p{i}" if text else None,
        )
        for i in range(count)
    ]


@dataclass
class Bench:
    """A server, its clock, and engines that talk to it."""

    server: Server
    clock: FakeClock
    engines: list[OpenAIEngine] = field(default_factory=list)

    def engine(self, **options: Any) -> OpenAIEngine:
        options = {"concurrency": 4, "timeout": 5.0, "api_key_env": "", "clock": self.clock, **options}
        self.engines.append(OpenAIEngine(options.pop("base_url", self.server.url), MODEL, **options))
        return self.engines[-1]


@contextlib.contextmanager
def benched() -> Iterator[Bench]:
    clock = FakeClock()
    with serving(clock) as server:
        bench = Bench(server, clock)
        try:
            yield bench
        finally:
            for engine in bench.engines:
                engine.close()


def got(engine: OpenAIEngine, requests: list[Request], sampling: Sampling = WARM) -> tuple[list[Finished], str]:
    """What came, and the error's text ("" for none)."""
    came: list[Finished] = []
    try:
        for one in engine.stream(requests, sampling):
            came.append(one)
    except EngineError as error:
        return came, str(error)
    return came, ""
