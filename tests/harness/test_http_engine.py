"""The engine against a real server on the loopback that misbehaves on command. No test waits for real time to pass,
but for the one that lets a server stay silent (a fraction of a second)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from http_fixture import WARM, Bench, Handler, benched, got, refusal, reply, requests_of, text_for

from groupwise.harness.engines.contract import Completion, EngineError, Request, Sampling, sample
from groupwise.harness.engines.endpoint import transport

Body = dict[str, Any]


@pytest.fixture
def bench() -> Iterator[Bench]:
    with benched() as made:
        yield made


def expected(request: Request, row: int) -> str:
    return f"p{request.problem.removeprefix('task/')}|{request.seeds[row] % 2**31}"


# ---- what is asked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [False, True])
def test_every_rollout_is_asked_for_once_with_its_own_seed(bench: Bench, text: bool) -> None:
    requests = requests_of(5, samples=3, text=text)
    drawn = sample(bench.engine(), requests, Sampling(20, 0.5, 0.9))
    for request, group in zip(requests, drawn, strict=True):
        assert [completion.text for completion in group] == [expected(request, row) for row in range(3)]
        assert group[0] == Completion((), None, None, "stop", expected(request, 0), 5)
    asked = bench.server.asked
    assert Counter(seen.body["seed"] for seen in asked) == Counter(s % 2**31 for r in requests for s in r.seeds)
    assert {seen.path for seen in asked} == {"/v1/completions" if text else "/v1/chat/completions"}
    assert {(seen.body["temperature"], seen.body["top_p"], seen.body["max_tokens"]) for seen in asked} == {
        (0.5, 0.9, 20)
    }
    assert not any("logprobs" in seen.body or "n" in seen.body for seen in asked)


def test_nothing_to_do_asks_nothing(bench: Bench) -> None:
    assert list(bench.engine().stream([], WARM)) == []
    assert bench.server.arrived == []


def test_answers_come_as_they_are_finished_in_any_order(bench: Bench) -> None:
    """The first request is answered only after three others have come out of the engine."""
    release = threading.Event()

    def slow_first(handler: Handler, body: Body, _: int) -> None:
        if text_for(body).startswith("p0|"):
            assert release.wait(20)
        handler.send(200, reply(body))

    bench.server.on_post = slow_first
    order = []
    for done in bench.engine(concurrency=2, timeout=30.0).stream(requests_of(4), WARM):
        order.append(done.request)
        if len(order) == 3:
            release.set()
    assert order == [1, 2, 3, 0]


def test_never_more_at_a_time_than_allowed(bench: Bench) -> None:
    """Three requests meet inside the server, which shows that three are let in; never are there four."""
    together = threading.Barrier(3)

    def meet(handler: Handler, body: Body, _: int) -> None:
        together.wait(20)
        handler.send(200, reply(body))

    bench.server.on_post = meet
    engine = bench.engine(concurrency=3, timeout=30.0)
    assert len(list(engine.stream(requests_of(6, 2), WARM))) == 12
    assert bench.server.most_inside == 3
    assert engine.rows == 24


def test_logprobs_where_the_server_gives_them(bench: Bench) -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.25}, {"token": "b", "logprob": -2.0}]}
    bench.server.on_post = lambda h, body, _: h.send(200, reply(body, choice={"logprobs": logprobs}))
    ((found,),) = sample(bench.engine(logprobs=True), requests_of(1), WARM)
    assert found.logprobs == (-0.25, -2.0)
    assert bench.server.asked[-1].body["logprobs"] is True


def test_the_engine_says_what_it_is(bench: Bench) -> None:
    engine = bench.engine()
    assert (engine.name, engine.exact) == ("openai", False)
    with pytest.raises(EngineError, match="cannot take weights"):
        engine.synchronise(object())


# ---- failures that pass -----------------------------------------------------------------------------------


def once(bench: Bench, act: Any) -> None:
    """The first attempt for a rollout meets ``act``; the second is answered."""

    def answer(handler: Handler, body: Body, number: int) -> None:
        if number == 0:
            act(handler)
        else:
            handler.send(200, reply(body))

    bench.server.on_post = answer


def truncated(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def truncated_chunks(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"400\r\n{")
    handler.drop()


PASSING = {
    "408": lambda h: h.send(408, b""),
    "409": lambda h: h.send(409, refusal("conflict")),
    "429": lambda h: h.send(429, refusal("too many")),
    "500": lambda h: h.send(500, b"<html>oops</html>"),
    "502": lambda h: h.send(502, b"\xff\xfe\x00"),
    "503": lambda h: h.send(503, refusal("loading model", code=503)),
    "529": lambda h: h.send(529, b""),
    "garbage": lambda h: h.send(200, b"no json"),
    "a page": lambda h: h.send(200, b"<html>log in</html>", Content_Type="text/html"),
    "a list": lambda h: h.send(200, b"[]"),
    "no choices": lambda h: h.send(200, {"choices": []}),
    "an error as an answer": lambda h: h.send(200, refusal("overloaded")),
    "aborted": lambda h: h.send(200, {"choices": [{"text": "half", "finish_reason": "abort"}]}),
    "truncated": truncated,
    "truncated chunks": truncated_chunks,
    "hung up": lambda h: h.drop(),
    "no http": lambda h: (h.wfile.write(b"SSH-2.0-x\r\n"), h.drop()),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_tried_again(bench: Bench, name: str) -> None:
    once(bench, PASSING[name])
    requests = requests_of(1)
    ((found,),) = sample(bench.engine(), requests, WARM)
    assert found.text == expected(requests[0], 0)
    first, second = bench.server.asked
    assert first.body == second.body  # the same seed, so the same rollout
    assert second.time - first.time == 1.0  # FakeClock's jitter is the longest


def test_silence_is_given_up_after_the_timeout(bench: Bench) -> None:
    release = threading.Event()
    once(bench, lambda handler: release.wait(20))
    ((found,),) = sample(bench.engine(timeout=0.2), requests_of(1), WARM)
    release.set()
    assert found.text
    assert len(bench.server.asked) == 2


def test_an_answer_that_trickles_in_is_given_up_after_the_timeout(bench: Bench) -> None:
    """Each byte comes within the read timeout; the whole does not. The server moves the clock."""

    def trickle(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        bench.clock.time += 6.0
        handler.wfile.write(b" ")
        handler.wfile.flush()
        assert hold.wait(20)

    hold = threading.Event()
    once(bench, trickle)
    ((found,),) = sample(bench.engine(timeout=5.0), requests_of(1), WARM)
    hold.set()
    assert found.text
    assert len(bench.server.asked) == 2


def test_waits_double_up_to_a_limit_and_tries_are_counted(bench: Bench) -> None:
    bench.server.on_post = lambda h, body, _: h.send(429, refusal("slow down"))
    came, error = got(bench.engine(tries=9), requests_of(1))
    assert came == []
    assert "HTTP 429: slow down (9 tries); failed: task/0 sample 0; 0 of 1 rollouts came" in error
    times = [seen.time for seen in bench.server.asked]
    assert [b - a for a, b in pairwise(times)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_rollout_is_given_up_after_its_deadline(bench: Bench) -> None:
    bench.server.on_post = lambda h, body, _: h.send(429, refusal("slow down"))
    _, error = got(bench.engine(tries=1000, deadline=100.0), requests_of(1))
    times = [seen.time for seen in bench.server.asked]
    assert 100 <= times[-1] - times[0] < 100 + 60
    assert "HTTP 429" in error


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry_After": "120"},
        {"Retry_After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": "Fri, 31 Dec 1999 23:57:59 GMT"},
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_wait_that_the_server_asks_for_is_kept_by_all(bench: Bench, status: int, headers: dict[str, str]) -> None:
    def answer(handler: Handler, body: Body, number: int) -> None:
        if number:
            handler.send(200, reply(body))
            return
        handler.send_response_only(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    bench.server.on_post = answer
    assert len(list(bench.engine(concurrency=1).stream(requests_of(3), WARM))) == 3
    times = [seen.time for seen in bench.server.asked]
    assert times == [1000, 1120, 1120, 1120]


def test_a_server_that_asks_for_too_long_a_wait_is_left_alone(bench: Bench) -> None:
    bench.server.on_post = lambda h, body, _: h.send(429, refusal("daily quota"), Retry_After="86400")
    came, error = got(bench.engine(), requests_of(50))
    assert came == []
    assert "HTTP 429: daily quota; it asks to wait 86400 s" in error
    assert len(bench.server.asked) <= 4
    assert bench.clock.waits == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0.0), ("1.5", 1.5), ("", None), ("soon", None), ("-3", None), ("9" * 400, 1e9), ("1e999", 1e9),
     ("Fri, 31 Feb 1999 99:99:99 GMT", None), ("Sat, 01 Jan 2000 00:00:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_in_all_spellings(header: str, seconds: float | None) -> None:
    import httpx2

    assert transport.retry_after(httpx2.Headers({"Retry-After": header})) == seconds
