"""Programs: find the code in a completion, run it in a sandbox, see whether it passes the tests.

A reference is the JSON text of a specification (``groupwise.verifiers.sandbox.checker``): the function's name, the
text that the completion continues, the tests, and a reference solution.

Rules, tried in this order, after everything up to the last ``</think>`` is taken away:

1. ``fenced``        the last ``` block that defines the function; else, where there is a prompt to continue, the last
                     block as the function's body.
2. ``whole-text``    the whole completion, where it defines the function.
3. ``continuation``  the completion as what follows the prompt, cut at the first line that starts with ``class``,
                     ``def``, ``#``, ``if``, ``print`` or a fence, as HumanEval does, or at ``[DONE]``, as MBPP does.

Where a rule offers a text that does not compile, the next one has its turn. Imports and helper functions that stand
in the prompt before the function are put in front of a function that comes without them.

No code of a completion is run, or so much as parsed, in this process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from groupwise.verifiers.base import Verdict
from groupwise.verifiers.sandbox import client, limits
from groupwise.verifiers.sandbox.isolation import IsolationError

MAX_CHARACTERS = 100_000
MAX_ANSWER_CHARACTERS = 20_000

_FENCE = re.compile(r"^[ \t]{0,3}```[ \t]*[\w+#.-]{0,20}[ \t]*\n(.*?)(?:^[ \t]{0,3}```|\Z)", re.DOTALL | re.MULTILINE)
_STOP = re.compile(r"\n(?=class\b|def\b|#|if\b|print\b|@|```|<\|)|\[DONE\]")
_FUTURE = re.compile(r"^from __future__ import .*$", re.MULTILINE)
_THOUGHT = "</think>"


def _defines(text: str, name: str) -> bool:
    """Whether a line of the text, by the look of it, defines the name at the top level."""
    word = re.escape(name)
    return bool(re.search(rf"^(?:(?:async[ \t]+)?def[ \t]+{word}\b|class[ \t]+{word}\b|{word}[ \t]*[:=])", text, re.M))


def _joined(*parts: str) -> str:
    """Program texts one after the other; imports from ``__future__`` have to come first."""
    text = "\n".join(parts)
    future = _FUTURE.findall(text)
    return "\n".join([*future, _FUTURE.sub("", text)]) if future else text


def _continued(prompt: str, text: str) -> list[str]:
    """The prompt with the text behind it, as it is and with its first line indented: some models lose the blanks."""
    stop = _STOP.search(text)
    body = text[: stop.start()] if stop else text
    if not prompt:
        return [body.replace("[BEGIN]", "")]
    return [prompt + body, f"{prompt.rstrip()}\n    {body.lstrip()}"]


def candidates(completion: str, entry_point: str, prompt: str) -> list[tuple[str, str]]:
    """The texts that may be the program, each with its rule, in the order in which they are tried; at most 6."""
    text = completion[-MAX_CHARACTERS:].replace("\r\n", "\n")
    if _THOUGHT in text:
        text = text[text.rindex(_THOUGHT) + len(_THOUGHT) :]
    elif text.lstrip().startswith("<think>"):  # cut off while thinking
        return []
    if not text.strip():
        return []
    start = re.search(rf"^(?:async[ \t]+)?def[ \t]+{re.escape(entry_point)}\b", prompt, re.M)
    preamble = prompt[: start.start()] if start else ""
    found: list[tuple[str, str]] = []
    blocks = _FENCE.findall(text)
    defining = [block for block in blocks if _defines(block, entry_point)]
    if defining:
        found.append(("fenced", _joined(preamble, defining[-1])))
    elif blocks and (prompt or not _defines(text, entry_point)) and not text[:1].isspace():
        found += [("fenced", variant) for variant in _continued(prompt, blocks[-1])]
    if _defines(text, entry_point) and not defining:
        found.append(("whole-text", _joined(preamble, text)))
    return found + [("continuation", variant) for variant in _continued(prompt, text)]


class CodeVerifier:
    """Right means: the program passes every test, within its limits, in the sandbox.

    The level of isolation is what ``GROUPWISE_ISOLATION`` asks for (``namespaces`` unless it is set, or
    ``process``); it stands in the method. Where the machine cannot give it nothing is run: IsolationError. The score
    is None where the reference solution does not pass, or a reference is no specification. The answer is the
    program's text.
    """

    name = "code"
    time_limit = f"{limits.CPU_SECONDS:g} CPU seconds of this kind of machine for a program"
    version = 1
    rules = ("fenced", "whole-text", "continuation")
    parallel = "threads"  # the work is done in processes of the sandbox

    def spellings(self, reference: str) -> list[str]:
        """The reference solution bare, fenced, among other fences, after thinking, and as the prompt's continuation."""
        spec = json.loads(reference)
        whole, prompt = spec["canonical"].strip("\n"), spec["prompt"]
        fence = f"```python\n{whole}\n```"
        found = [
            whole,
            f"Here is the function.\n\n{fence}\n\nIt handles the empty case as well.",
            f"A sketch:\n```\nreturn None\n```\nThe solution:\n{fence}\nTo run it:\n```bash\npython solution.py\n```",
            f"<think>\nMaybe this:\n```python\ndef {spec['entry_point']}(): pass\n```\n</think>\n{fence}",
        ]
        if prompt and spec["canonical"].startswith(prompt):
            found.append(spec["canonical"][len(prompt) :])
        return found

    def environment(self) -> dict[str, Any]:
        """The isolation in force, and the limits before this machine's speed stretches them. Raises IsolationError."""
        level = client.asked_level()
        sandbox = client.sandbox(level)
        shut = {key: value for key, value in sandbox.describe().items() if key != "folder"}
        narrowest = {**asdict(limits.Limits()), "times_reference": limits.FACTOR}
        return {"isolation": shut, "limits": narrowest}

    def __call__(self, completion: str, references: Sequence[str], prompt: str = "") -> Verdict:
        """Raises IsolationError where the level asked for cannot be had."""
        level = client.asked_level()
        if not references:
            return Verdict(None, None, f"code/none/{level}", "there is no reference")
        try:
            spec = json.loads(references[0])
            texts = candidates(completion, spec["entry_point"], spec["prompt"])
        except (ValueError, KeyError, TypeError) as error:
            return Verdict(None, None, f"code/none/{level}", f"the reference is no specification ({error!r})"[:200])
        if not texts:
            return Verdict(0.0, None, f"code/none/{level}", "no program found", _components(False, "none", False))
        try:
            result = client.sandbox(level).judge(references[0], [text for _, text in texts])
        except client.BrokenReference as error:
            return Verdict(None, None, f"code/none/{level}", str(error))
        except IsolationError as error:
            raise IsolationError(
                f"{error}; {client.LEVEL_VARIABLE}=process runs programs with less isolation"
            ) from error
        rule, text = texts[result.variant or 0]
        answer = text.strip()[:MAX_ANSWER_CHARACTERS]
        components = _components(result.passed, rule, result.timed_out)
        return Verdict(float(result.passed), answer, f"code/{rule}/{level}", result.reason, components)


def _components(passed: bool, rule: str, timed_out: bool) -> dict[str, float]:
    """``strict``: passes, and was fenced; ``loose``: passes."""
    fenced = rule == "fenced"
    return {
        "strict": float(passed and fenced), "loose": float(passed), "format": float(fenced), "timeout": float(timed_out)
    }  # fmt: skip
