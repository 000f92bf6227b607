"""`groupwise evaluate` at an endpoint that misbehaves, for a while or for good: what came is kept, nothing is asked
twice, and with a healthy server the records are those of an evaluation that nothing disturbed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from evaluate_fixture import evaluate
from http_fixture import MODEL, FakeClock, Handler, Server, refusal, reply, serving

from groupwise.harness.engines.endpoint.pace import Clock
from groupwise.harness.report import write

PROBLEMS, SAMPLES = 6, 4
ALL = PROBLEMS * SAMPLES
GOOD = 7  # answers before it goes wrong for good
TIMEOUT = {"slow": 4.0}  # seconds for an answer; 60 for the others, so that a busy machine is no fault

Fault = Callable[[Handler], None]


def truncated(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"index": 0, "mess')
    handler.close_connection = True


FAULTS: dict[str, Fault] = {
    "429": lambda handler: handler.send(429, refusal("slow down"), Retry_After="2"),
    "500": lambda handler: handler.send(500, b"<html>oops</html>"),
    "garbage": lambda handler: handler.send(200, b"\x00\xff{]"),
    "another shape": lambda handler: handler.send(200, {"choices": [{"message": 7}]}),
    "truncated": truncated,
    "nothing": lambda handler: handler.drop(),
    "slow": lambda handler: time.sleep(2 * TIMEOUT["slow"]),
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A healthy one; nobody waits between two attempts, but the clock moves on as if."""
    monkeypatch.setattr(Clock, "now", lambda _: clock.now())
    monkeypatch.setattr(Clock, "wait", lambda _, seconds, stop: clock.wait(seconds, stop))
    monkeypatch.setattr(Clock, "jitter", lambda _, most: most)
    monkeypatch.setattr(write, "write_report", lambda folder: folder)
    monkeypatch.setattr(write, "print_report", lambda folder, **_: None)
    with serving(clock) as one:
        yield one


def ask(server: Server, folder: Path, out: str, fault: str = "") -> int:
    return evaluate(
        "--engine", "openai", "--base-url", server.url, "--model", MODEL, "--task", "write_sum", "--problems", PROBLEMS,
        "--samples", SAMPLES, "--threads", 1, "--concurrency", 4, "--timeout", TIMEOUT.get(fault, 60.0),
        "--store", folder / "store", "--out", folder / out,
    )  # fmt: skip


def rows(folder: Path) -> bytes:
    (file,) = folder.glob("evaluations/*/final/write_sum.jsonl")
    return file.read_bytes()


def stored(folder: Path) -> Counter[tuple[str, int]]:
    """How often each rollout is in the store."""
    (file,) = (folder / "store").glob("*/rollouts.jsonl")
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return Counter((row["problem"], row["sample"]) for line in lines for row in line["rollouts"])


def until_stored(folder: Path, count: int) -> None:
    """No fault may overtake a good answer that the client, on a busy machine, has not read yet."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if stored(folder).total() >= count:
                return
        except ValueError:  # a line that is being written, or no file yet
            pass
        time.sleep(0.01)


def healthy(handler: Handler, body: dict[str, Any], number: int) -> None:
    handler.send(200, reply(body))


def undisturbed(server: Server, folder: Path) -> bytes:
    server.on_post = healthy
    assert ask(server, folder / "undisturbed", "out") == 0
    server.arrived.clear()
    return rows(folder / "undisturbed" / "out")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_passes_leaves_no_trace(name: str, server: Server, tmp_path: Path) -> None:
    before = undisturbed(server, tmp_path)

    def answer(handler: Handler, body: dict[str, Any], number: int) -> None:
        FAULTS[name](handler) if number % 5 == 1 else healthy(handler, body, number)

    server.on_post = answer
    assert ask(server, tmp_path, "out", name) == 0
    assert len(server.asked) > ALL, "some were asked again"
    assert rows(tmp_path / "out") == before
    assert set(stored(tmp_path).values()) == {1}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_stays_is_one_line_and_loses_nothing(
    name: str,
    server: Server,
    clock: FakeClock,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = undisturbed(server, tmp_path)
    # Three waits of every thread, and the endpoint counts as down.
    waits = clock.wait
    monkeypatch.setattr(clock, "wait", lambda seconds, stop: waits(10 * seconds, stop))

    answered = set[int]()

    def answer(handler: Handler, body: dict[str, Any], number: int) -> None:
        if number < GOOD:
            answered.add(body["seed"])
            return healthy(handler, body, number)
        until_stored(tmp_path, GOOD)
        return FAULTS[name](handler)

    server.on_post = answer
    capsys.readouterr()
    assert ask(server, tmp_path, "out", name) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"groupwise: --model {MODEL}: openai: {server.url}")
    assert f"({GOOD} rollouts were generated and are stored; the same command goes on from here)" in line
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    kept = stored(tmp_path)
    assert sum(kept.values()) == GOOD
    server.arrived.clear()
    server.on_post = healthy
    assert ask(server, tmp_path, "out") == 0
    assert f"{ALL - GOOD} rollouts generated, {GOOD} from the store" in capsys.readouterr().err
    # By seed: on a busy machine a request of the command before may arrive now.
    asked = {one.body["seed"] for one in server.asked}
    assert (len(asked), asked & answered) == (ALL - GOOD, set())
    assert rows(tmp_path / "out") == before
    assert set(stored(tmp_path).values()) == {1}
    assert kept <= stored(tmp_path)
