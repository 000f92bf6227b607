"""The whole of `groupwise diversity`: read, measure, store, compare; one dictionary of what was found."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import pandas as pd

from groupwise.harness.diversity.compare import Found, findings
from groupwise.harness.diversity.equivalence import Classifier
from groupwise.harness.diversity.measure import Settings, Tools, measure, some_rows
from groupwise.harness.diversity.records import Texts, read_texts
from groupwise.harness.embedders import measuring
from groupwise.harness.errors import InputError
from groupwise.harness.jsontext import finite
from groupwise.harness.layout import BASE, COMPARATOR, EVALUATION, RIGHT
from groupwise.harness.report.cells import KEY
from groupwise.harness.report.texts import (
    WORDING,
    TextMeasure,
    embedding_cells,
    embedding_measures,
    trained_with,
    wording_cells,
)

# Beside an embedder's measures there is always one that no embedder has a part in.
BESIDE = tuple(m for m in WORDING if m.column.removesuffix("_right") in ("distinct_2", "self_bleu"))


def diversity(folder: Path, settings: Settings) -> tuple[Found, tuple[TextMeasure, ...]]:
    """What is found, in numbers and words, and the measures in the order of the tables.

    Raises InputError or RecordError before anything is written when the run, or the model, cannot be read.
    """
    run = read_texts(folder)
    every = some_rows({one: run.rows(one) for one in run.evaluations}, settings.problems)
    every = {one: rows for one, rows in every.items() if len(rows)}
    if not every:
        raise InputError(f"{folder}: the final evaluations hold no rollouts")
    rollouts = pd.concat(every.values(), ignore_index=True)
    most = int(rollouts.groupby(KEY)["score"].count().max())
    if settings.k > most:
        raise InputError(f"--k {settings.k}: expected at most {most}, the scored samples of a problem in {folder}")
    measure(run, settings, Tools(lambda: measuring(settings.embedder), lru_cache(Classifier)), every)
    table = embedding_cells(folder)[settings.embedder]
    about = {str(key): value for key, value in table.attrs.items()}
    measures = (*embedding_measures(settings.embedder, about), *BESIDE)
    beside = wording_cells(rollouts)[[*KEY, *(m.column for m in BESIDE)]]
    cells = table.merge(beside, on=KEY, how="left")
    sizes = rollouts.assign(right=rollouts["score"] >= RIGHT).groupby(KEY)
    cells = cells.merge(sizes.agg(scored=("score", "count"), right=("right", "sum")).reset_index(), on=KEY)
    untrained = run.manifest.get("kind") == EVALUATION
    preferred = COMPARATOR in run.labels and not untrained
    comparator = COMPARATOR if preferred else next((x for x in run.labels if x != BASE), BASE)
    tasks = {
        task: findings(cells[cells["task"] == task], run.labels, comparator, measures, untrained=untrained)
        for task in run.tasks
        if (cells["task"] == task).any()
    }
    trained = trained_with(run.manifest)
    found = {
        "run": str(run.manifest.get("name", folder.name)),
        **about,
        "comparator": comparator,
        "correction": "Holm, one family per task and measure",
        "measures": {m.column: {"title": m.title, "unit": m.unit, "note": m.note} for m in measures},
        "trained_with": {label: trained.get(label) for label in run.labels if label != BASE},
        "not_independent": [label for label in run.labels if trained.get(label) == settings.embedder],
        "tasks": tasks,
        "notes": _notes(run, settings, trained, cells),
    }
    return finite(found), measures


def _notes(run: Texts, settings: Settings, trained: Mapping[str, str], cells: pd.DataFrame) -> list[str]:
    kind = " (trigrams: wording, not meaning)" if settings.embedder == "hash" else ""
    by = f"{settings.embedder} embeddings{kind}"
    notes = [f"Vendi, volume and distance by {by}; the last two columns need no embedder"]
    same = [label for label in run.labels if trained.get(label) == settings.embedder]
    if same:
        notes.append(
            f"{', '.join(same)}: trained with the {settings.embedder} embedder, which is no independent judge of its "
            "diversity; go by Self-BLEU, Distinct-2, or another --embedder"
        )
    others = {label: name for label, name in trained.items() if name != settings.embedder and label in run.labels}
    for name in dict.fromkeys(others.values()):
        labels = ", ".join(label for label, which in others.items() if which == name)
        notes.append(f"{labels}: trained with the {name} embedder, not with {settings.embedder}")
    few = int((cells["scored"] < settings.k).sum())
    if few:
        which = f"{few} of {len(cells)} problem x seed cells have fewer than {settings.k} scored rollouts"
        notes.append(f"{which}: left out of distinct_{settings.k}")
    notes.append(
        "measures of right rollouts are of as many as are right: read them beside the accuracy; "
        f"distinct right of {settings.k} counts the classes of right rollouts among {settings.k} of all rollouts"
    )
    if settings.problems is not None:
        notes.append(f"{settings.problems} problems of each task at most, chosen by a hash of their ids")
    notes.append(f"stored in {run.folder / 'diversity' / settings.file}; `groupwise report` shows it from now on")
    return notes
