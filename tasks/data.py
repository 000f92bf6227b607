"""Finding the rows of a data set, and refusing rows that are not the expected ones.

Places are tried in this order; the first that is named is the one that is used:

1. the ``data_dir`` argument (``--data-dir``),
2. the folder in the environment variable ``GROUPWISE_DATA``,
3. the source's data set on the Hugging Face hub, at its pinned revision (needs the ``datasets`` package), or,
   for sources that no hub carries, the file itself at a pinned commit, kept in ``~/.cache/groupwise``.

Wherever the rows come from, the fields that the task uses must have the declared sha256.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.tasks.base import DataError

DATA_VARIABLE = "GROUPWISE_DATA"
DOWNLOAD_SECONDS = 60

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """One file of rows.

    ``path`` is relative to the data folder: ``.jsonl``, or ``.json`` holding one array. ``hub_id``,
    ``hub_config``, ``revision`` and ``split`` name the same rows on the hub, None where it has no copy;
    ``url`` is the original file at a pinned commit. ``fields`` are the ones read; ``rows`` is how many there
    are, and ``sha256`` is that of ``row_hash``.
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


def load(source: Source, data_dir: Path | None = None) -> list[dict[str, Any]]:
    """The source's rows, reduced to its fields, in file order.

    Raises DataError when they cannot be found or read, or differ from the declared count or hash.
    """
    folder = named_folder(data_dir)
    if folder is not None:
        place = str(folder / source.path)
        rows = _from_file(folder / source.path)
    elif source.hub_id is not None:
        place = f"{source.hub_id} at {source.revision}"
        rows = _from_hub(source)
    else:
        place = str(source.url)
        rows = _from_url(source)
    return _checked(rows, source, place)


def _checked(rows: list[Any], source: Source, place: str) -> list[dict[str, Any]]:
    if len(rows) != source.rows:
        raise DataError(f"{place}: {len(rows)} rows, expected {source.rows}")
    try:
        picked = [{field: row[field] for field in source.fields} for row in rows]
    except (KeyError, TypeError) as error:
        raise DataError(f"{place}: a row lacks one of the fields {', '.join(source.fields)}") from error
    found = row_hash(picked, source.fields)
    if found != source.sha256:
        raise DataError(f"{place}: other rows than expected (sha256 {found[:12]}, not {source.sha256[:12]})")
    return picked


def _parse(text: str, path: str, place: str) -> list[Any]:
    """The rows of a JSON Lines text, or of a JSON array where the path ends in ``.json``."""
    if path.endswith(".json"):
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise DataError(f"{place}: not valid JSON ({error})") from error
        if not isinstance(rows, list):
            raise DataError(f"{place}: not a JSON array")
        return rows
    rows = []
    # Not splitlines(): a JSON string may hold U+2028, which is no line end here.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise DataError(f"{place}, line {number}: not valid JSON ({error})") from error
    return rows


def _from_file(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing from the data folder") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return _parse(text, path.name, str(path))


def _from_hub(source: Source) -> list[Any]:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"no data for {source.path}: name a data folder with --data-dir or {DATA_VARIABLE}, "
            "or pip install 'groupwise[hub]' to fetch it from the hub"
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
        rows = _from_file(kept)
        _checked(rows, source, str(kept))
        return rows
    if source.url is None:
        raise DataError(f"no data for {source.path}: name a data folder with --data-dir or {DATA_VARIABLE}")
    from urllib.request import urlopen

    try:
        with urlopen(source.url, timeout=DOWNLOAD_SECONDS) as answer:
            content: bytes = answer.read()
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{source.url} could not be fetched ({type(error).__name__}): "
            f"name a data folder with --data-dir or {DATA_VARIABLE}"
        ) from error
    rows = _parse(text, source.path, source.url)
    _checked(rows, source, source.url)
    partial = kept.with_name(f"{kept.name}.{os.getpid()}.part")  # cells of one run may fetch at the same time
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(kept)
    except OSError:
        pass  # a read-only home costs the next run a download, no more
    return rows
