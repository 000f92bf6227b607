"""Keys: only from the environment, sent to one host alone, and seen nowhere."""

from __future__ import annotations

import copy
import json
import logging
import pprint
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from http_fixture import Bench, Handler, benched, models, refusal, reply, requests_of
from hypothesis import given
from hypothesis import strategies as st

from groupwise.harness.engines.contract import EngineError, Sampling
from groupwise.harness.engines.endpoint.address import base_of, is_loopback, key_for, scrubbed
from groupwise.harness.errors import InputError

KEY = "sk-secret-0123456789"
WARM = Sampling(20, 1.0)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GROUPWISE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("GROUPWISE_API_KEY", KEY)
    with benched() as made:
        yield made


def test_which_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    base = "https://h/v1"
    assert key_for(base, None) is None
    monkeypatch.setenv("OPENAI_API_KEY", "second-key")
    assert key_for(base, None) == "second-key"
    monkeypatch.setenv("GROUPWISE_API_KEY", " first-key\n")
    assert key_for(base, None) == "first-key"
    assert key_for(base, "OPENAI_API_KEY") == "second-key"
    assert key_for(base, "") is None
    with pytest.raises(InputError, match="MY_KEY is not set"):
        key_for(base, "MY_KEY")


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", "a\x00b"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr("os.environ", {"GROUPWISE_API_KEY": key})
    with pytest.raises(InputError, match=r"^endpoint: GROUPWISE_API_KEY: expected printable ASCII") as caught:
        key_for("https://h/v1", None)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "safe"),
    [("https://api.example.com/v1", True), ("http://127.0.0.1:8000/v1", True), ("http://127.8.8.8/v1", True),
     ("http://localhost:8000/v1", True), ("http://[::1]:8000/v1", True), ("http://10.0.0.5/v1", False),
     ("http://node17:8000/v1", False), ("http://127.0.0.1.example.com/v1", False),
     ("http://localhost.example.com/v1", False)],
)  # fmt: skip
def test_a_key_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch, base: str, safe: bool) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert is_loopback(base) == (safe and base.startswith("http:"))
    if safe:
        assert key_for(base, None) == KEY
    else:
        assert key_for(base, "") is None
        with pytest.raises(InputError, match="the key in OPENAI_API_KEY would be sent unencrypted") as caught:
            key_for(base, None)
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base"),
    [("http://h", "http://h/v1"), ("http://h/", "http://h/v1"), ("https://h:8/v1/", "https://h:8/v1"),
     ("https://h/api/v1", "https://h/api/v1"), ("http://h/v1/chat/completions", "http://h/v1"),
     ("http://h/v1/completions/", "http://h/v1"), ("http://h/v1/models", "http://h/v1"),
     ("http://[::1]:8000", "http://[::1]:8000/v1")],
)  # fmt: skip
def test_base_urls(url: str, base: str) -> None:
    assert base_of(url) == base


@pytest.mark.parametrize(
    "url", [f"https://user:{KEY}@h/v1", f"https://{KEY}@h/v1", f"https://h/v1?key={KEY}", f"https://h/v1#{KEY}"]
)
def test_a_key_in_the_url_is_refused_unseen(url: str) -> None:
    with pytest.raises(InputError, match="put the key into GROUPWISE_API_KEY") as caught:
        base_of(url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "h:8000", "ftp://h", "http://", "http://h:x", "http://[::1", "http://h/\x1b[1m", "a b"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(InputError, match=r"expected http\(s\)") as caught:
        base_of(url)
    assert str(caught.value).isprintable()


@given(st.text())
def test_any_text_is_a_base_url_or_one_line(url: str) -> None:
    try:
        base = base_of(url)
    except InputError as error:
        message = str(error)
    else:
        message, again = base, base_of(base)
        assert again == base
    assert message.isprintable()


def test_the_key_is_sent_to_the_endpoint_and_to_nobody_else(bench: Bench) -> None:
    with benched() as other:
        engine = bench.engine(api_key_env=None)
        list(engine.stream(requests_of(2), WARM))
        assert {seen.headers["authorization"] for seen in bench.server.arrived} == {f"Bearer {KEY}"}
        assert not any(KEY in json.dumps(seen.body) for seen in bench.server.asked)
        for act in ("on_post", "on_models"):
            setattr(bench.server, act, lambda h, *_: h.send(302, b"", Location=other.server.url + "/models"))
            with pytest.raises(EngineError, match="a redirect to 127"):
                list(bench.engine(api_key_env=None).stream(requests_of(1), WARM))
        assert other.server.arrived == []


def test_no_key_no_header(bench: Bench) -> None:
    list(bench.engine().stream(requests_of(1), WARM))
    assert not any("authorization" in seen.headers for seen in bench.server.arrived)


ECHOES = {
    "refusal": lambda h, body, _: h.send(401, refusal(f"Incorrect API key provided: {KEY}. And Bearer {KEY}")),
    "one prompt": lambda h, body, _: h.send(400, {"detail": [{"headers": {"authorization": f"Bearer {KEY}"}}]}),
    "page": lambda h, body, _: h.send(500, f"<pre>{h.headers}</pre>".encode()),
    "redirect": lambda h, body, _: h.send(302, b"", Location=f"http://{KEY}.example.com/?k={KEY}"),
    "no http": lambda h, body, _: (h.wfile.write(f"{KEY}\r\n\r\n".encode()), h.drop()),
    "header": lambda h, body, _: (h.wfile.write(f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode()), h.drop()),
    "wait": lambda h, body, _: h.send(429, refusal(KEY), Retry_After="99999"),
}


@pytest.mark.parametrize("name", ECHOES)
def test_a_key_that_the_server_says_back_is_not_repeated(
    bench: Bench, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.server.on_post = ECHOES[name]
    engine = bench.engine(api_key_env=None, tries=2)
    with caplog.at_level(logging.DEBUG, "groupwise"), pytest.raises(EngineError) as caught:
        list(engine.stream(requests_of(2), WARM))
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in caplog.text
    assert KEY not in pprint.pformat([repr(engine), engine.describe()])


def test_a_key_in_the_list_of_models_is_not_repeated(bench: Bench) -> None:
    bench.server.on_models = lambda h: h.send(200, models(f"x-{KEY}"))
    with pytest.raises(EngineError, match=r"it has x-\[key\]") as caught:
        bench.engine(api_key_env=None).describe()
    assert KEY not in str(caught.value)


def test_a_key_in_a_completion_is_taken_out(bench: Bench) -> None:
    def echo(handler: Handler, body: dict[str, Any], _: int) -> None:
        handler.send(200, reply(body, text=f"a {KEY} b", choice={"finish_reason": KEY}, system_fingerprint=KEY))

    bench.server.on_post = echo
    engine = bench.engine(api_key_env=None)
    (done,) = engine.stream(requests_of(1), WARM)
    assert done.completion.text == "a [key] b"
    assert KEY not in repr(engine.describe())


def test_a_placeholder_for_a_key_is_no_secret() -> None:
    assert scrubbed("the list is EMPTY", "EMPTY") == "the list is EMPTY"
    assert scrubbed(f"x{KEY}{KEY}y", KEY) == "x[key][key]y"
    assert scrubbed(KEY, None) == KEY


def test_no_repr_or_copy_of_the_options_holds_the_key(bench: Bench) -> None:
    import dataclasses

    engine = bench.engine(api_key_env=None)
    assert KEY not in repr(engine)
    options = {f.name: copy.copy(getattr(engine, f.name)) for f in dataclasses.fields(engine)}
    assert KEY not in repr(options)
