"""Stored completions, whoever wrote them, as one kind of row.

What a file is shows in the fields of its rows:

- our own rollouts (``problem``, ``sample``, ``text``, ``score``);
- lm-evaluation-harness ``samples_*.jsonl`` (``doc_id``, ``doc``, ``target``, ``arguments``, ``resps``, ``filter``):
  the raw responses are read, once, although the file has a row for each filter;
- TRL's completion logs (parquet, or the same as JSON lines: ``step``, ``prompt``, ``completion``, a column for each
  reward, ``advantage``), plain text or chat messages;
- plain JSON lines with a completion and an id, a question, or a reference (``COMPLETION``, ``IDS``, ``QUESTION``,
  ``REFERENCE`` below: the first field present counts).

Files are read row by row and never held whole.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.harness.errors import InputError
from groupwise.harness.jsontext import check_text, loads
from groupwise.harness.report.checks import number

COMPLETION = ("completion", "response", "text", "output", "solution")  # EvalPlus calls it solution
IDS = ("problem", "id", "problem_id", "task_id", "unique_id", "question_id")
QUESTION = ("prompt", "question", "problem", "query", "instruction", "input", "text")
REFERENCE = ("reference", "references", "answer", "answers", "gold", "target", "expected")
LABELS = ("label", "score")

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One completion.

    ``place`` is for messages ("file.jsonl: line 3"). ``ids`` and ``questions`` are what may name the problem: ids,
    and texts that hold the question. ``references`` is None where the row has none of its own. ``label`` is the
    right score according to the file. ``fields`` are all of the row's.
    """

    place: str
    completion: str
    ids: tuple[str, ...]
    questions: tuple[str, ...]
    references: tuple[str, ...] | None
    sample: int | None
    label: float | None
    fields: Fields


def read(path: Path, label: str | None = None) -> Iterator[Row]:
    """The completions of a file. ``label`` names the field with the right score; by default one of ``LABELS``.

    Raises InputError, naming the place and the field, for what cannot be read.
    """
    filter_read: str | None = None
    for place, fields in _objects(path):
        if _is_lm_eval(fields):
            # One row for each filter, all with the same responses.
            filter_read = filter_read or str(fields.get("filter"))
            if str(fields.get("filter")) == filter_read:
                yield from _lm_eval(place, fields, label)
        else:
            yield from _plain(place, fields, label)


def _objects(path: Path) -> Iterator[tuple[str, Fields]]:
    """Place and fields of every row of a JSON-lines or parquet file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".parquet":
        yield from _parquet(path)
        return
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    place = f"{path}: line {number}"
                    yield place, _object(line, place)
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _object(line: bytes, place: str) -> Fields:
    try:
        fields = loads(line)
        check_text(fields)
    except ValueError as error:
        raise InputError(f"{place}: not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InputError(f"{place}: expected an object with fields, got {type(fields).__name__}")
    return fields


def _parquet(path: Path) -> Iterator[tuple[str, Fields]]:
    import pyarrow
    from pyarrow import parquet

    try:
        number = 0
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=1024):
            for fields in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", fields
    except (OSError, pyarrow.ArrowException, ValueError, OverflowError) as error:
        raise InputError(f"{path}: cannot be read as parquet: {' '.join(str(error).split())}") from error


def _plain(place: str, fields: Fields, label: str | None) -> Iterator[Row]:
    name = next((name for name in COMPLETION if fields.get(name) is not None), None)
    if name is None:
        raise InputError(f"{place}: no completion: expected one of the fields {', '.join(COMPLETION)}")
    ids = tuple(_ids(fields))
    # Of our own records, `answer` is what was extracted, and no reference; of others, `text` may be the question.
    own = {"problem", "sample", "text"} <= fields.keys()
    questions = tuple(_texts(fields, [key for key in QUESTION if key != name]))
    references = None if own else _references(fields)
    sample = fields.get("sample")
    for completion in _completions(fields[name], f"{place}: {name}"):
        yield Row(
            place, completion, ids, questions, references, sample if isinstance(sample, int) else None,
            _label(fields, label, place), fields,
        )  # fmt: skip


def _is_lm_eval(fields: Fields) -> bool:
    return {"doc_id", "doc", "resps"} <= fields.keys()


def _lm_eval(place: str, fields: Fields, label: str | None) -> Iterator[Row]:
    doc = fields["doc"] if isinstance(fields["doc"], dict) else {}
    ids = tuple(_ids(doc))
    questions = (*_texts(doc, QUESTION), *_arguments(fields.get("arguments")))
    references = None if fields.get("target") is None else (str(fields["target"]),)
    requests = fields["resps"]
    # Requests x repeats; the responses of a multiple-choice request are (log-likelihood, is greedy) pairs.
    if not isinstance(requests, list) or not all(
        isinstance(repeats, list) and all(isinstance(text, str) for text in repeats) for repeats in requests
    ):
        raise InputError(f"{place}: resps: expected lists of generated texts, got log-likelihoods or something else")
    for completion in (text for repeats in requests for text in repeats):
        # Without a name the metrics of lm-eval are no labels: they judge its filter's answer, not the text.
        right = _label(fields, label, place) if label else None
        yield Row(place, completion, ids, questions, references, None, right, fields)


def _arguments(arguments: Any) -> Iterator[str]:
    """The prompts of lm-eval's ``{"gen_args_0": {"arg_0": prompt, ...}}``, or of a list of lists (older files)."""
    requests = arguments.values() if isinstance(arguments, dict) else arguments if isinstance(arguments, list) else []
    for request in requests:
        first = (
            request.get("arg_0")
            if isinstance(request, dict)
            else request[0]
            if isinstance(request, list) and request
            else None
        )
        if isinstance(first, str):
            yield first


def _ids(fields: Fields) -> Iterator[str]:
    """The ids among the fields; a text with blanks is none, for some call the question ``problem``."""
    for value in (fields.get(name) for name in IDS):
        if isinstance(value, int) or (isinstance(value, str) and value.split() == [value]):
            yield str(value)


def _texts(fields: Fields, names: Sequence[str]) -> Iterator[str]:
    """Those of the named fields (in any case) that hold text or chat messages."""
    lower = {key.lower(): value for key, value in fields.items()}
    for name in names:
        value = lower.get(name)
        if isinstance(value, list) and value and all(_is_message(part) for part in value):
            yield "\n\n".join(_content(part) for part in value if part["role"] == "user")
        elif isinstance(value, str):
            yield value


def _completions(value: Any, place: str) -> list[str]:
    """The texts of a completion field: one text, a list of texts, or the chat messages of one reply."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(part, str) for part in value):
            return list(value)
        if all(_is_message(part) for part in value):
            said = [_content(part) for part in value if part["role"] == "assistant"]
            return said[-1:] or [""]  # with tools in between, the answer is in the last one
    raise InputError(f"{place}: expected a text, a list of texts or chat messages, got {_shown(value)}")


def _is_message(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("role"), str) and "content" in part


def _content(message: Fields) -> str:
    """The text of a chat message; of one in parts, that of its text parts."""
    content = message["content"]
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def _references(fields: Fields) -> tuple[str, ...] | None:
    value = next((fields[name] for name in REFERENCE if fields.get(name) is not None), None)
    values = value if isinstance(value, list) else [value]
    if value is None or not all(isinstance(one, (str, int, float)) for one in values):
        return None
    return tuple(str(one) for one in values)


def _label(fields: Fields, name: str | None, place: str) -> float | None:
    """The right score according to the file; None where it has none, or does not know."""
    if name is not None and name not in fields:
        raise InputError(f"{place}: no field {name}, which --label names")
    field = name or next((one for one in LABELS if one in fields), None)
    value = None if field is None else fields[field]
    if value is None or value != value:  # NaN stands for "no value" in parquet files
        return None
    if not number(value):
        raise InputError(f"{place}: {field}: expected true, false or a score, got {_shown(value)}")
    return float(value)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
