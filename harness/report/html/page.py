"""The report as one HTML file: the answer first, then the tables, the figures, the rollouts and what made them.

Everything is inside the file. Its content security policy forbids it to fetch anything, and to run anything but the one
script whose hash it names. `finalize` writes out unseen characters in all that the template prints, autoescape does the
markup; what the script shows comes as JSON and is set as text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from groupwise.harness.layout import BASE
from groupwise.harness.report.drawing import Picture
from groupwise.harness.report.findings import missing, sentences
from groupwise.harness.report.html import glossary
from groupwise.harness.report.html.figures import images
from groupwise.harness.report.html.safe import script_data, visible
from groupwise.harness.report.html.samples import TaskExamples, as_data
from groupwise.harness.report.html.sheets import sheet
from groupwise.harness.report.html.verdicts import budget, verdicts
from groupwise.harness.report.tables import Table, evaluated, name_of, noun

Summary = dict[str, Any]
COLUMNS = 6  # optimizers beside each other when samples are first shown
DETAILS = ("cost", "collapse", "by-")  # names that begin so: tables that come after the samples


def page(
    summary: Summary,
    drawn: Sequence[Picture],
    manifest: Mapping[str, Any],
    examples: Sequence[TaskExamples],
    tables: Sequence[Table],
) -> str:
    """The whole page; the same arguments give the same text.

    examples: of `samples.read_examples`. tables: of `tables.all_tables`, in the order to be shown.
    """
    said = sentences(summary)
    style, script = _resource("style.css"), _resource("script.js")
    sheets = [sheet(summary, table) for table in tables]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_printed
    )
    environment.filters |= {"emphasis": emphasis, "breakable": breakable}
    return environment.from_string(_resource("template.html.j2")).render(
        summary=summary,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        facts=_facts(summary, manifest),
        verdicts=verdicts(summary, said),
        more=[line for line in said if not line.startswith("**")],
        missing=missing(summary),
        results=[s for s in sheets if not s.name.startswith(DETAILS)],
        details=[s for s in sheets if s.name.startswith(DETAILS)],
        images=images(drawn),
        examples=examples,
        data=Markup(script_data(_sample_data(summary, examples))),
        recipes=[_recipe(label, recipe) for label, recipe in summary["recipes"].items() if recipe],
        terms=glossary.terms(summary),
        noun=noun(summary),
        evaluated=evaluated(summary),
        method=glossary.method(summary),
        ways=glossary.ways(summary),
        schema=manifest.get("schema_version"),
        manifest=_sections(manifest),
        cells=manifest.get("cells", []),
    )


def _sections(manifest: Mapping[str, Any]) -> Summary:
    """The manifest's tables; without the number of processes, which changes no number and is nothing to differ by."""
    found = {key: value for key, value in manifest.items() if isinstance(value, dict) and key != "recipes"}
    compute = found.get("experiment", {}).get("compute")
    if isinstance(compute, dict):
        kept = {key: value for key, value in compute.items() if key != "processes"}
        found["experiment"] = {**found["experiment"], "compute": kept}
    return found


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _printed(value: Any) -> Any:
    """What Jinja prints for an expression, before it is escaped."""
    return value if isinstance(value, Markup) else visible(value)


def emphasis(text: str) -> Markup:
    """`**bold**` of the findings and code between backticks as markup; all else is text."""
    parts = re.split(r"\*\*(.+?)\*\*|`([^`]+)`", visible(text))
    made = Markup()
    for plain, bold, code in zip(parts[::3], [*parts[1::3], None], [*parts[2::3], None], strict=True):
        made += escape(plain)
        if bold or code:
            made += Markup("<strong>{}</strong>" if bold else "<code>{}</code>").format(bold or code)
    return made


def breakable(text: str) -> Markup:
    """A name that may be broken after `_` and `/`, where a line has no room for it."""
    return Markup("").join(escape(part) + Markup("<wbr>") * part.endswith(("_", "/"))
                           for part in re.split(r"(?<=[_/])", visible(text)))  # fmt: skip


def _policy(style: str, script: str) -> str:
    """Nothing is allowed but the page's own style and script, by hash, and images that are in the page."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _facts(summary: Summary, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The run in one line: term and value."""
    if evaluated(summary):
        return _facts_of_models(summary, manifest)
    optimizers = [label for label in summary["labels"] if label != BASE]
    seeds = summary["seeds"]
    return [
        ("Model", str(summary["model"])),
        ("Trained on", _training(manifest)),
        ("Evaluated on", ", ".join(summary["tasks"])),
        ("Optimizers", f"{len(optimizers)}, compared with {summary['comparator']}"),
        ("Training runs", f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'} per optimizer"),
        ("Budget", budget(summary)),
        ("Status", str(summary["status"])),
    ]


def _facts_of_models(summary: Summary, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """An evaluation in one line; what the tasks do not share stands in the manifest."""
    asked = manifest["experiment"]["evaluation"]
    sampling = asked.get("sampling") or {}
    shared = [f"{name.replace('_', ' ')} {value:g}" for name, value in sampling.items()
              if isinstance(value, (int, float))]  # fmt: skip
    models = summary["labels"]
    return [
        ("Models" if len(models) > 1 else "Model", str(summary["model"])),
        ("Evaluated on", ", ".join(summary["tasks"])),
        ("Samples", f"{asked.get('samples', 'not recorded')} of each problem, at most"),
        ("Sampling", ", ".join([*shared, f"seed {', '.join(map(str, summary['seeds']))}"])),
        ("Status", str(summary["status"])),
    ]


def _recipe(label: str, recipe: Summary) -> Summary:
    """One optimizer: its formula first, then all else that is recorded of it."""
    rest = {
        key.replace("_", " "): value
        for key, value in recipe.items()
        if key not in ("title", "formula", "reconstruction") and value not in ("", None, [], {})
    }
    return {
        "label": label,
        "title": recipe.get("title", label),
        "tag": "reconstruction" if recipe.get("reconstruction") else "",
        "formula": recipe.get("formula", ""),
        "rest": rest,
    }


def _training(manifest: Mapping[str, Any]) -> str:
    """Names of the training tasks: `train.tasks`, or `train.task` in older records."""
    train = manifest.get("experiment", {}).get("train") or {}
    tasks = train.get("tasks") or [train.get("task", "not recorded")]
    return ", ".join(str(task["name"] if isinstance(task, dict) else task) for task in tasks)


def _sample_data(summary: Summary, examples: Sequence[TaskExamples]) -> list[Summary]:
    """For the script: per task the labels, which of them to show first, and the examples."""
    return [
        {
            "task": found.task,
            "labels": [name_of(summary, label) for label in found.seeds],
            "seeds": list(found.seeds.values()),
            "first": _first(summary, found),
            "examples": [as_data(example) for example in found.examples],
        }
        for found in examples
    ]


def _first(summary: Summary, found: TaskExamples) -> list[int]:
    """Places of the labels shown first: base, the comparator, then the highest accuracies; in the report's order."""
    labels = list(found.seeds)
    means = {label: row["accuracy"]["value"] or 0.0 for label, row in summary["tasks"][found.task]["labels"].items()}
    order = sorted(labels, key=lambda x: (x not in (BASE, summary["comparator"]), -means.get(x, 0.0), labels.index(x)))
    return sorted(labels.index(label) for label in order[:COLUMNS])
