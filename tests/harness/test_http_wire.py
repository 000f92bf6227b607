"""What is sent, and how answers of different servers are read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.harness.engines.contract import EngineError, Request, Sampling
from groupwise.harness.engines.endpoint import wire

CHAT = Request((), (2**127 + 12345,), "t/0", (0,), ({"role": "user", "content": "hi"},))
TEXT = Request((), (7,), "t/0", (0,), text="once")
WARM = Sampling(20, 1.0)


def answer(choice: object, sampling: Sampling = WARM, wanted: bool = True, **more: object) -> wire.Answer:
    return wire.answer_of({"choices": [choice], **more}, sampling, wanted)


def message(**fields: object) -> dict[str, object]:
    return {"message": {"role": "assistant", **fields}, "finish_reason": "stop"}


def test_messages_are_answered_and_text_is_continued() -> None:
    assert wire.path_of(CHAT) == "/chat/completions"
    assert wire.path_of(TEXT) == "/completions"
    chat = wire.body_of(CHAT, 0, Sampling(20, 0.7, 0.9), "m", wire.Dialect(logprobs=False), {})
    assert chat == {
        "model": "m", "temperature": 0.7, "top_p": 0.9, "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 20, "seed": 12345,
    }  # fmt: skip
    text = wire.body_of(TEXT, 0, WARM, "m", wire.Dialect(logprobs=False), {"stop": ["\n"]})
    assert text == {
        "model": "m", "temperature": 1.0, "top_p": 1.0, "prompt": "once", "max_tokens": 20, "seed": 7, "stop": ["\n"],
    }  # fmt: skip


def test_a_request_without_messages_and_text_is_refused() -> None:
    with pytest.raises(EngineError, match="t/0: an endpoint takes messages or text"):
        wire.path_of(Request((1, 2), (0,), "t/0"))


@given(st.integers(0, 2**128 - 1))
def test_seeds_are_numbers_every_server_takes(seed: int) -> None:
    request = Request((), (seed,), text="x")
    sent = wire.body_of(request, 0, WARM, "m", wire.Dialect(), {})["seed"]
    assert isinstance(sent, int)
    assert 0 <= sent < 2**31
    assert (seed - sent) % 2**31 == 0


def test_logprobs_are_asked_for_where_they_mean_what_is_promised() -> None:
    for temperature, asked in ((1.0, True), (0.0, True), (0.7, False)):
        chat = wire.body_of(CHAT, 0, Sampling(20, temperature), "m", wire.Dialect(), {})
        assert (chat.get("logprobs"), chat.get("top_logprobs")) == ((True, 1) if asked else (None, None))
        text = wire.body_of(TEXT, 0, Sampling(20, temperature), "m", wire.Dialect(), {})
        assert text.get("logprobs") == (1 if asked else None)


def test_logprobs_of_both_forms() -> None:
    chat_form = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1}]}
    text_form = {"tokens": ["a", "b"], "token_logprobs": [-0.5, -1.0], "top_logprobs": [{}, {}], "text_offset": [0, 1]}
    for form in (chat_form, text_form):
        for choice in (message(content="ab"), {"text": "ab"}):
            assert answer({**choice, "logprobs": form}).completion.logprobs == (-0.5, -1.0)
    assert answer({"text": "", "logprobs": chat_form}, Sampling(20, 0.7)).completion.logprobs is None
    assert answer({"text": "", "logprobs": chat_form}, wanted=False).completion.logprobs is None


@pytest.mark.parametrize(
    "form",
    [None, {}, [], {"content": None}, {"content": [{"token": "a"}]}, {"content": ["a"]},
     {"token_logprobs": [None, -1.0]}, {"token_logprobs": [float("-inf")]}, {"token_logprobs": [float("nan")]},
     {"token_logprobs": ["-1"]}, {"token_logprobs": [0.5]}],
)  # fmt: skip
def test_incomplete_logprobs_are_none_at_all(form: object) -> None:
    assert answer({"text": "ab", "logprobs": form}).completion.logprobs is None


def test_length_is_what_the_server_counts() -> None:
    assert answer({"text": "ab"}, usage={"completion_tokens": 7, "total_tokens": 9}).completion.length == 7
    assert answer({"text": "ab"}, usage={"total_tokens": 9}).total_tokens == 9
    assert answer({"text": "ab", "logprobs": {"token_logprobs": [-1.0, -2.0]}}).completion.length == 2
    for usage in (None, {}, {"completion_tokens": None}, {"completion_tokens": -1}, {"completion_tokens": True}, 3):
        assert answer({"text": "ab"}, usage=usage).completion.length is None


@pytest.mark.parametrize(
    ("said", "meant"),
    [("stop", "stop"), ("length", "length"), ("max_tokens", "length"), ("tool_calls", "stop"),
     ("content_filter", "stop"), (None, "stop"), ("eos", "stop")],
)  # fmt: skip
def test_finish_reasons(said: object, meant: str) -> None:
    found = answer({"text": "ab", "finish_reason": said})
    assert found.completion.finish_reason == meant
    assert found.finish_reason == (said or "none")


def test_what_the_server_broke_off_is_no_completion() -> None:
    for reason in ("abort", "error"):
        with pytest.raises(wire.Malformed, match=reason):
            answer({"text": "ab", "finish_reason": reason})


def test_only_the_content_is_graded() -> None:
    assert answer(message(content="42", reasoning_content="let me see")).completion.text == "42"
    assert answer(message(content=None, reasoning="let me s")).completion.text == ""
    assert answer(message(content=None, refusal="no")).completion.text == ""
    assert answer(message(content=None, tool_calls=[{}])).completion.text == ""
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "42"}]
    assert answer(message(content=parts)).completion.text == "42"


def test_half_a_surrogate_pair_can_be_written() -> None:
    found = wire.parse(b'{"choices": [{"text": "a\\ud83d b\\ud83d\\ude00"}]}')
    text = wire.answer_of(found, WARM, False).completion.text
    assert text == "a\ufffd b\N{GRINNING FACE}"
    assert text.encode("utf-8")


@pytest.mark.parametrize(
    "found",
    [{}, {"choices": None}, {"choices": []}, {"choices": ["x"]}, {"choices": [{}]}, {"choices": [{"text": 3}]},
     {"choices": [{"message": "x"}]}, {"choices": [{"message": {"content": 3}}]}],
)  # fmt: skip
def test_what_is_no_completion(found: dict[str, object]) -> None:
    with pytest.raises(wire.Malformed):
        wire.answer_of(found, WARM, False)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b'"x"', b'{"a": ', b"\xff\xfe{", b"[" * 200_000])
def test_what_is_no_json_object(content: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.parse(content)


NAMES = ("choices", "message", "content", "text", "logprobs", "token_logprobs", "usage", "finish_reason", "logprob")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400)
ANYTHING = st.recursive(LEAVES, lambda one: st.lists(one) | st.dictionaries(st.sampled_from(NAMES), one), max_leaves=8)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING), ANYTHING)
def test_any_json_is_a_completion_or_malformed(choice: dict[str, object], usage: object) -> None:
    found = wire.parse(json.dumps({"choices": [choice], "usage": usage}).encode())
    try:
        completion = wire.answer_of(found, WARM, True).completion
    except wire.Malformed:
        return
    assert isinstance(completion.text, str)
    assert completion.finish_reason in ("stop", "length")
    assert completion.logprobs is None or all(-1e308 < value <= 0 for value in completion.logprobs)


@pytest.mark.parametrize(
    ("content", "message_", "code"),
    [
        (b'{"error": {"message": "no such model", "code": "model_not_found"}}', "no such model", "model_not_found"),
        (b'{"error": {"message": "bad", "param": "seed"}}', "bad (parameter 'seed')", ""),
        (b'{"object": "error", "message": "too long", "code": 400}', "too long", "400"),  # vLLM before 0.10
        (b'{"detail": "Not Found"}', "Not Found", ""),  # FastAPI
        (b'{"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}',
         '[{"type": "extra_forbidden", "loc": ["body", "seed"]}]', ""),
        (b'{"error": "loading"}', "loading", ""),
        (b"<html>502</html>", "<html>502</html>", ""),
        (b"", "", ""),
    ],
)  # fmt: skip
def test_error_messages_of_different_servers(content: bytes, message_: str, code: str) -> None:
    assert wire.error_message(content) == (message_, code)


def test_messages_are_one_short_printable_line() -> None:
    line = wire.shortened("a\x1b[31m\n b" + "c" * 1000)
    assert line.startswith("a\\x1b[31m b")
    assert len(line) == wire.MESSAGE_CHARACTERS
    assert line.isprintable()


def test_what_a_server_does_not_accept_is_left_out_once() -> None:
    dialect = wire.Dialect()
    modern = dialect.adapted("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    assert modern == wire.Dialect(limit="max_completion_tokens")
    assert modern.adapted("Use 'max_completion_tokens' instead.") is None
    assert dialect.adapted("logprobs are not supported with reasoning models") == wire.Dialect(logprobs=False)
    assert dialect.adapted('[{"loc": ["body", "seed"]}]') == wire.Dialect(seed=False)
    assert dialect.adapted("the prompt speaks of a seed") is None
    assert wire.body_of(CHAT, 0, WARM, "m", wire.Dialect("max_completion_tokens", False, False), {}).keys() == {
        "model", "temperature", "top_p", "messages", "max_completion_tokens",
    }  # fmt: skip
