"""From the texts of rollouts to cells: how differently they are worded, and how much room they take up.

The measures of `WORDING` need no model and are in every report. Those of an embedder are made by `groupwise diversity`,
which stores them in the run folder; `embedding_cells` and `stored_measures` read them back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from groupwise.harness.embedders import hash_rows
from groupwise.harness.jsontext import loads
from groupwise.harness.layout import RIGHT, cell_name
from groupwise.harness.report.cells import KEY, Measure
from groupwise.harness.report.checks import RecordError, check_regular
from groupwise.harness.report.read import FINAL
from groupwise.harness.report.rows import some_problems
from groupwise.harness.statistics.volume import volume
from groupwise.harness.statistics.wording import Array, Codes, count_grams, distinct_n, repetition, self_bleu

FOLDER = "diversity"  # of the stored measures, in the run folder
SETTINGS = b"groupwise"  # key of their settings in a parquet file's metadata
SETTING_KEYS = ("embedder", "equivalence", "threshold", "k", "problems")
LETTERS = 1 << 21  # of the texts measured at once: some 300 MB with their n-grams and embeddings


@dataclass(frozen=True)
class TextMeasure(Measure):
    """A measure of texts. Units: "texts" (an effective number of them), "classes", "nats", "distance" or none."""

    def bounds(self, samples: int) -> tuple[float, float]:
        """Range of one cell's value with `samples` rollouts."""
        most, one = float(max(samples, 1)), float(np.log(2))
        ends = {"texts": (1.0, most), "classes": (0.0, most), "nats": (one, most * one), "distance": (0.0, 2.0)}
        return ends.get(self.unit, (0.0, 1.0))


def both(*measures: TextMeasure) -> tuple[TextMeasure, ...]:
    """Each measure, and the same among a problem's right rollouts."""
    found: list[TextMeasure] = []
    for one in measures:
        note = f"{one.note}; of right rollouts alone"
        found += [one, TextMeasure(f"{one.column}_right", f"{one.title}, right", one.unit, note)]
    return tuple(found)


WORDING = both(
    TextMeasure("distinct_1", "Distinct-1", "", "different words of a problem's rollouts / all their words"),
    TextMeasure("distinct_2", "Distinct-2", "", "the same with word pairs; falls with length and number of texts"),
    TextMeasure("self_bleu", "Self-BLEU", "", "mean BLEU-4 of a rollout against the problem's others; 1 is all alike"),
    TextMeasure("repetition", "Repetition", "", "share of a rollout's word 4-grams that it had already, mean"),
    TextMeasure("vendi_ngram", "Vendi (trigrams)", "texts", "effective number of texts, by character trigrams"),
    TextMeasure("cosine_ngram", "Distance (trigrams)", "distance", "mean 1 - cosine over pairs, by character trigrams"),
)


def embedding_measures(embedder: str, settings: Mapping[str, Any]) -> tuple[TextMeasure, ...]:
    """The measures of `embedding_cells` for that embedder; settings: the table's `attrs`."""
    alike = settings["equivalence"]
    alike = f"cosine above {settings['threshold']:g}" if alike == "embedding" else f"{alike} says so"
    alike = "the extracted answer is the same" if settings["equivalence"] == "answer" else alike
    k, kind = settings["k"], f"two are in one class where {alike}"
    by = "by character trigrams" if embedder == "hash" else "by meaning"
    return (
        *both(
            TextMeasure(f"vendi_{embedder}", f"Vendi ({embedder})", "texts", f"effective number of texts, {by}"),
            TextMeasure(f"log_det_{embedder}", f"Volume ({embedder})", "nats", "log det(I + K), K: cosines of texts"),
            TextMeasure(f"cosine_{embedder}", f"Distance ({embedder})", "distance", "mean 1 - cosine over pairs"),
        ),
        TextMeasure(
            f"distinct_k_{embedder}", f"distinct_{k}", "classes",
            f"classes among {k} rollouts, mean over the choices of {k}; {kind}",
        ),
        TextMeasure(
            f"distinct_k_{embedder}_right", f"distinct right of {k}", "classes",
            f"classes of right rollouts among {k} of all rollouts, right or wrong, mean over the choices of {k}: rises "
            f"with the accuracy; {kind}",
        ),
    )  # fmt: skip


def wording_cells(rollouts: pd.DataFrame, problems: int | None = None) -> pd.DataFrame:
    """Cells with columns `KEY` and one per measure of `WORDING`, sorted by `KEY`.

    rollouts: columns `KEY`, score, text; those without a score or a text count nowhere. problems: measure that many of
    each task at most (`some_problems`). NaN: the cell has nothing to say about that measure.
    """
    rows = rollouts[rollouts["score"].notna() & rollouts["text"].notna()]
    if problems is not None:
        rows = rows[rows["problem"].isin(kept_problems(rows, problems))]
    grouped = rows.groupby(KEY, sort=True, observed=True)
    code = grouped.ngroup().to_numpy().astype(np.int64)
    table: pd.DataFrame = grouped.size().reset_index()[KEY]
    order = np.argsort(code, kind="stable")
    text, good = rows["text"].to_numpy(dtype=object)[order], rows["score"].to_numpy()[order] >= RIGHT
    parts = [_measures(list(text[some]), code[order][some], good[some]) for some in _chunks(text, code[order])]
    for measure in WORDING:
        values = [part[measure.column] for part in parts]
        table[measure.column] = np.concatenate(values) if values else np.zeros(0)
    # As plain strings: categories would sort by where a name was first met.
    return table.astype({"label": str, "task": str, "problem": str}).sort_values(KEY, ignore_index=True)


def _chunks(texts: Any, codes: Codes) -> Iterator[slice]:
    """Slices of whole cells with some `LETTERS` each; codes: ascending, of each text."""
    ends = np.flatnonzero(np.append(codes[1:] != codes[:-1], True)) + 1 if len(codes) else np.zeros(0, dtype=int)
    lengths = np.cumsum([len(text) for text in texts])
    start, used = 0, 0
    for end in ends:
        if lengths[end - 1] - used >= LETTERS or end == len(codes):
            yield slice(start, int(end))
            start, used = int(end), int(lengths[end - 1])


def _measures(texts: list[str], codes: Codes, good: Any) -> dict[str, Array]:
    """All of `WORDING` for the cells of one chunk, in the order of their codes."""
    cell = codes - codes[0]
    cells = int(cell[-1]) + 1
    grams, rows = count_grams(texts), hash_rows(texts)
    again = repetition(grams[-1])
    found: dict[str, Array] = {}
    for suffix, group in (("", cell), ("_right", np.where(good, cell, -1))):
        room = volume(rows, group, cells)
        members = np.bincount(group[group >= 0], minlength=cells)
        repeated = np.bincount(group[group >= 0], again[group >= 0], cells)
        found |= {
            f"distinct_1{suffix}": distinct_n(grams[0], group, cells),
            f"distinct_2{suffix}": distinct_n(grams[1], group, cells),
            f"self_bleu{suffix}": self_bleu(grams, group, cells),
            f"repetition{suffix}": np.divide(repeated, members, out=np.full(cells, np.nan), where=members > 0),
            f"vendi_ngram{suffix}": room.vendi,
            f"cosine_ngram{suffix}": room.distance,
        }
    return found


def kept_problems(rollouts: pd.DataFrame, count: int) -> set[str]:
    """Of each task `count` problems at most, by `some_problems`. rollouts: columns task, problem."""
    by_task = rollouts.groupby("task", observed=True)["problem"].unique()
    return {problem for ids in by_task for problem in some_problems(ids, count)}


def embedding_cells(run_folder: Path) -> dict[str, pd.DataFrame]:
    """What `groupwise diversity` stored in the run folder: per embedder, cells with columns `KEY` and its measures'.

    Only of evaluations whose records are still those that were measured. A table's `attrs` are the settings it was
    made with: embedder, equivalence, threshold, k, problems. Empty when there is nothing stored. Raises RecordError for
    a file that is something else.
    """
    return {name: kept for name, (kept, _) in _checked(Path(run_folder)).items()}


def stored_measures(run_folder: Path, cells: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The tables of `embedding_cells` that say anything, and notes on what they do not cover.

    cells: the run's cells, columns `KEY`. The notes name evaluations whose records changed since they were measured,
    those that were never measured, and how many of a task's problems were.
    """
    final = cells[cells["at"] == FINAL].astype({"label": str, "task": str, "problem": str})
    there = list(dict.fromkeys(zip(final["label"], final["seed"].astype(int), final["task"], strict=True)))
    found, notes = {}, []
    for name, (table, changed) in _checked(Path(run_folder)).items():
        again = "; `groupwise diversity` measures them again"
        measured = set(zip(table["label"], table["seed"].astype(int), table["task"], strict=True))
        stale = [one for one in there if _evaluation(*one) in changed]
        if stale:
            notes.append(f"{name}: left out, for the records changed since they were measured: {_words(stale)}{again}")
        if missing := [one for one in there if one not in measured and one not in stale]:
            notes.append(f"{name}: not measured: {_words(missing)}{again}")
        for task, rows in final.groupby("task"):
            every, some = set(rows["problem"]), set(table.loc[table["task"] == task, "problem"])
            if some and len(every & some) < len(every):
                notes.append(f"{task}: measures by {name} are of {len(every & some)} of {len(every)} problems")
        if len(table):
            found[name] = table
    return found, notes


def _words(evaluations: Iterable[tuple[str, int, str]]) -> str:
    """Evaluations in words: labels with their seeds, task by task."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for label, seed, task in evaluations:
        seeds.setdefault((task, label), []).append(seed)
    return ", ".join(f"{label} seed{'s' * (len(some) > 1)} {' '.join(map(str, some))} on {task}"
                     for (task, label), some in seeds.items())  # fmt: skip


def _checked(folder: Path) -> dict[str, tuple[pd.DataFrame, set[str]]]:
    """Per embedder the stored cells of unchanged records, and the names of the evaluations that changed."""
    found, digests = {}, dict[str, str]()
    for path in sorted((folder / FOLDER).glob("*.parquet")):
        stored = read_stored(path)
        if stored is None:
            raise RecordError(f"{path}: expected measures stored by `groupwise diversity`")
        table, settings = stored
        name = str(settings["embedder"])
        changed = set()
        for one, before in settings["evaluations"].items():
            if one not in digests:
                digests[one] = _digest_of(folder, one)
            if digests[one] != before:
                changed.add(one)
        owner = [_evaluation(*one) for one in zip(table["label"], table["seed"], table["task"], strict=True)]
        table = table[[one in settings["evaluations"] and one not in changed for one in owner]]
        measures = [str(c) for c in table.columns if c not in KEY]
        table = table.rename(columns={c: _named(c, name) for c in measures})
        table.insert(2, "at", FINAL)
        table.attrs.update({key: settings[key] for key in SETTING_KEYS})
        found[name] = table.sort_values(KEY, ignore_index=True), changed
    return found


def _evaluation(label: str, seed: int, task: str) -> str:
    """What an evaluation is called in the stored settings."""
    return f"{cell_name(label, int(seed))}/{task}"


def _digest_of(folder: Path, evaluation: str) -> str:
    """The digest of the records of an evaluation as they are now; empty where they are gone."""
    cell, _, task = evaluation.partition("/")
    path = folder / "evaluations" / cell / "final" / f"{task}.jsonl"
    return digest(path) if path.is_file() else ""


def digest(path: Path) -> str:
    """What tells a file from another one: SHA-256 of its bytes. Raises RecordError when it cannot be read."""
    check_regular(path)
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None


def read_stored(path: Path) -> tuple[pd.DataFrame, dict[str, Any]] | None:
    """A stored table of measures and its settings; None where there is none, or one of another kind."""
    try:
        table = parquet.read_table(path)
        settings = loads(table.schema.metadata[SETTINGS])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None
    if not isinstance(settings, dict) or not isinstance(settings.get("evaluations"), dict):
        return None
    if not (set(KEY) - {"at"} <= set(table.column_names) and settings.keys() >= set(SETTING_KEYS)):
        return None
    frame: pd.DataFrame = table.to_pandas()
    return frame, settings


def _named(column: str, embedder: str) -> str:
    return f"{column.removesuffix('_right')}_{embedder}{'_right' if column.endswith('_right') else ''}"


def trained_with(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The embedder that each label was trained with; labels that compare no texts in training are absent.

    As the recipes of the manifest word it (`cost`); in records that have no such line, by the options.
    """
    found = {}
    for label, options in manifest["experiment"].get("algorithms", {}).items():
        recipe = manifest.get("recipes", {}).get(label) or {}
        if "cost" in recipe:
            told = re.search(r"a (\S+) embedding of each text", str(recipe["cost"]))
            if told:
                found[label] = told[1]
        elif options.get("redundancy_coef") or options.get("name", label) == "gcpo_cooperative":
            found[label] = str(options.get("embedder", "hash"))
    return found
