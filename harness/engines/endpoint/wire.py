"""What is sent to an OpenAI-compatible server, and what its answers mean.

Sources: the OpenAI API reference (chat completions, completions, models); vLLM 0.32 ``entrypoints/openai``; llama.cpp
``tools/server/README.md``. Servers differ where noted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from groupwise.harness.engines.contract import Completion, EngineError, Request, Sampling
from groupwise.harness.errors import printable

SEED_BITS = 31  # llama.cpp keeps 32 bits and takes the highest number for "random"; others accept 63
MESSAGE_CHARACTERS = 300

# What these servers would otherwise take from their own defaults or from the model's generation_config.json, so that
# temperature and top_p alone say what is sampled from. ``owned_by`` in /v1/models tells which server it is.
NEUTRAL: dict[str, dict[str, object]] = {
    "vllm": {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
}
OWN_FIELDS = frozenset(
    ("model", "messages", "prompt", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens", "n",
     "stream", "logprobs", "top_logprobs", "best_of", "echo")
)  # fmt: skip

CUT_OFF = frozenset(("length", "max_tokens", "model_length"))
BROKEN_OFF = frozenset(("abort", "error"))  # vLLM's words for a request that it gave up


class Malformed(Exception):
    """The answer is not a completion. Asking again may help."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What this server accepts: the name of the length limit, whether it takes a seed and gives log-probabilities."""

    limit: str = "max_tokens"
    seed: bool = True
    logprobs: bool = True

    def adapted(self, message: str) -> Dialect | None:
        """The dialect to try after a refusal with that message; None when it names nothing that could be left out."""
        if self.limit == "max_tokens" and "max_completion_tokens" in message:
            return replace(self, limit="max_completion_tokens")
        if self.logprobs and re.search(r"logprobs", message):
            return replace(self, logprobs=False)
        if self.seed and re.search(r"['\"`]seed['\"`]", message):
            return replace(self, seed=False)
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion, with what the server said about it."""

    completion: Completion
    finish_reason: str  # the server's word
    total_tokens: int | None  # prompt and completion, as the server counts them
    fingerprint: str | None


def knows_logprobs(sampling: Sampling) -> bool:
    """Servers give log-probabilities before the temperature is applied; ``Completion`` promises those after it."""
    return sampling.temperature in (0.0, 1.0)


def path_of(request: Request) -> str:
    """Text is continued, messages are answered. Raises EngineError for a request with neither."""
    if request.text is not None:
        return "/completions"
    if request.messages:
        return "/chat/completions"
    raise EngineError(f"openai: {printable(request.problem) or 'a request'}: an endpoint takes messages or text")


def body_of(
    request: Request,
    row: int,
    sampling: Sampling,
    model: str,
    dialect: Dialect,
    extra: Mapping[str, object],
) -> dict[str, object]:
    """The JSON body that asks for one rollout."""
    body: dict[str, object] = {"model": model, "temperature": sampling.temperature, "top_p": sampling.top_p}
    chat = request.text is None
    if chat:
        body["messages"] = [dict(message) for message in request.messages]
    else:
        body["prompt"] = request.text
    body[dialect.limit if chat else "max_tokens"] = sampling.max_new_tokens
    if dialect.seed:
        body["seed"] = request.seeds[row] % 2**SEED_BITS
    if dialect.logprobs and knows_logprobs(sampling):
        # One alternative is asked for since llama.cpp gives nothing for none.
        body.update({"logprobs": True, "top_logprobs": 1} if chat else {"logprobs": 1})
    return {**body, **extra}


def parse(content: bytes) -> dict[str, Any]:
    """A JSON object. Raises Malformed."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the answer is not JSON ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise Malformed("the answer is not a JSON object")
    return found


def answer_of(found: Mapping[str, Any], sampling: Sampling, wanted_logprobs: bool) -> Answer:
    """The first choice of an answer. Raises Malformed."""
    choices = found.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Malformed("the answer has no choices")
    choice = choices[0]
    reason = choice.get("finish_reason")
    reason = reason if isinstance(reason, str) else "none"
    if reason in BROKEN_OFF:
        raise Malformed(f"the server broke off (finish_reason {reason})")
    logprobs = _logprobs(choice.get("logprobs")) if wanted_logprobs and knows_logprobs(sampling) else None
    length = _count(found, "completion_tokens")
    if length is None and logprobs is not None:
        length = len(logprobs)
    completion = Completion(
        tokens=(),
        logprobs=logprobs,
        entropies=None,
        finish_reason="length" if reason in CUT_OFF else "stop",
        text=_without_surrogates(_text(choice)),
        length=length,
    )
    fingerprint = found.get("system_fingerprint")
    return Answer(
        completion,
        printable(reason)[:40],
        _count(found, "total_tokens"),
        printable(fingerprint)[:100] if isinstance(fingerprint, str) else None,
    )


def _text(choice: Mapping[str, Any]) -> str:
    """What is graded: the content alone. Reasoning that the server splits off is not part of the answer, and a model
    that was cut off while reasoning, refused, or called a tool has answered nothing: ""."""
    message = choice.get("message")
    if not isinstance(message, dict):
        if isinstance(choice.get("text"), str):
            return str(choice["text"])
        raise Malformed("the answer has no text")
    content = message.get("content")
    if isinstance(content, list):  # parts (Mistral); those of other types are reasoning
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(part for part in parts if isinstance(part, str))
    if content is not None and not isinstance(content, str):
        raise Malformed("the answer has no text")
    return content or ""


def _logprobs(found: object) -> tuple[float, ...] | None:
    """The chosen tokens' log-probabilities, in the form of either API (llama.cpp gives the chat form in both)."""
    if not isinstance(found, dict):
        return None
    if isinstance(found.get("content"), list):
        values = [item.get("logprob") if isinstance(item, dict) else None for item in found["content"]]
    elif isinstance(found.get("token_logprobs"), list):
        values = found["token_logprobs"]
    else:
        return None
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and -1e308 < value <= 0]
    return tuple(numbers) if len(numbers) == len(values) else None


def _count(found: Mapping[str, Any], name: str) -> int | None:
    usage = found.get("usage")
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _without_surrogates(text: str) -> str:
    """JSON can carry half a surrogate pair, UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def error_message(content: bytes) -> tuple[str, str]:
    """(what the server says of a refusal, its code), from whichever form it has; not yet printable."""
    text = content[:4000].decode("utf-8", "replace")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return text, ""
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return str(error), ""
    said = next((error[key] for key in ("message", "detail") if error.get(key)), error)
    message = said if isinstance(said, str) else json.dumps(said)
    parameter = error.get("param")
    if isinstance(parameter, str) and parameter not in message:
        message = f"{message} (parameter '{parameter}')"
    return message, str(error.get("code") or "")


def shortened(message: str) -> str:
    """One printable line."""
    line = printable(" ".join(message.split()))
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 3] + "..."
