"""A whole evaluation: find the models, take or generate every rollout, grade beside it, write records and report."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from groupwise.harness.determinism import GIVEN_EVALUATION, promised
from groupwise.harness.engines.contract import EngineError, NeverError
from groupwise.harness.errors import InputError, from_extra
from groupwise.harness.evaluation.folder import Fresh, manifest_of, write_manifest, write_rows, write_unit
from groupwise.harness.evaluation.generate import Found, LazyModel, rollouts_of
from groupwise.harness.evaluation.grading import Grader, Unit
from groupwise.harness.evaluation.plan import Asked, Plan, plan_of
from groupwise.harness.evaluation.sources import Source, sources_of
from groupwise.harness.loading import cache_dir
from groupwise.harness.problems import write_tasks
from groupwise.harness.progress import Display
from groupwise.harness.provenance import surroundings, task
from groupwise.harness.report.checks import RecordError, check_sums, read_manifest
from groupwise.tasks import data
from groupwise.verifiers.base import Unavailable

NAMED = 3  # models and tasks in the default name of the folder


class Interrupted(Exception):
    """The engine failed after some rollouts came: they are stored, and the same command goes on."""


@dataclass
class Counts:
    """Rollouts of this command: found in the store, generated now, and refused. ``engines``: by label, what the
    engines that generated say of themselves."""

    restored: int = 0
    generated: int = 0
    engines: dict[str, Any] = field(default_factory=dict)
    refused: int = 0

    def add(self, found: Found) -> None:
        refused = sum(bool(one.refused) for one in found.rollouts)
        self.refused += refused
        self.restored += len(found.rollouts) * found.restored
        self.generated += (len(found.rollouts) - refused) * (not found.restored)


def evaluate(options: argparse.Namespace) -> tuple[Path, Counts | None]:
    """Do what the options ask for. Returns the folder, and what had to be done; None where it was there already.

    Raises InputError, with no folder made, for bad input; Interrupted when the engine gave up on the way.
    """
    plan = plan_of(options)
    for asked in plan.tasks:
        _check_verifier(asked)
    warnings: set[str] = set()
    sources = sources_of(plan, options, lambda line: _say(line, warnings))
    experiment = _experiment(plan, sources, options)
    place: Path = options.out or Path("runs") / _default_name(plan, experiment)
    provenance = {**surroundings(), "engine": options.engine, "tasks": _tasks(plan),
                  "data": {"accepted": data.accepted()}}  # fmt: skip
    promise = promised(options.device, options.engine, GIVEN_EVALUATION, [one.task.verifier for one in plan.tasks])
    manifest = manifest_of(place.name, experiment, provenance, determinism=promise)
    if place.exists():
        _check_sums(place)
        _same_evaluation(place, manifest)
        _with_report(place)
        return place, None
    with Fresh(place) as fresh:
        counts = _fill(fresh.folder, plan, sources, options, warnings)
        if counts.engines:
            manifest["engines"] = counts.engines
        write_tasks(fresh.folder, {one.config.name: one.problems for one in plan.tasks})
        write_manifest(fresh.folder, manifest)
        from groupwise.harness.report.write import write_report

        write_report(fresh.folder)
        fresh.publish()
    return place, counts


def _with_report(place: Path) -> None:
    """Make the report of a finished evaluation again where it is not there, or cannot be read."""
    from groupwise.harness.report.write import RecordError, write_report, written_summary

    try:
        written_summary(place)
    except RecordError:
        try:
            write_report(place)
        except RecordError as error:
            raise InputError(str(error)) from error


def _fill(
    folder: Path, plan: Plan, sources: Sequence[Source], options: argparse.Namespace, warnings: set[str]
) -> Counts:
    """The records of every model on every task. A unit is written while the next one is generated and graded."""
    root = options.store or cache_dir() / "rollouts"
    counts, timings = Counts(), []
    units = [(source, asked, _unit(source, asked)) for source in sources for asked in plan.tasks]
    with Display({unit.name: asked.rollouts for _, asked, unit in units}) as display:
        grader = Grader(options.threads, display.advance)
        unwritten: list[tuple[Unit, Asked]] = []
        for source in sources:
            model = LazyModel(source, plan)
            try:
                for asked, unit in [(asked, unit) for of, asked, unit in units if of is source]:
                    start, before = time.monotonic(), counts.generated
                    for found in rollouts_of(model, asked, plan, root, lambda line: _say(line, warnings)):
                        grader.put(unit, found.rollouts, restored=found.restored)
                        counts.add(found)
                    timings.append({"unit": unit.name, "seconds": time.monotonic() - start,
                                    "generated": counts.generated - before, "finished": time.time()})  # fmt: skip
                    _write(folder, unwritten, plan.seed)
                    unwritten.append((unit, asked))
                if told := model.describe():
                    counts.engines[source.model.label] = told
            except EngineError as error:
                _raise(error, source, counts)
            finally:
                model.close()
        grader.wait()
        _write(folder, unwritten, plan.seed)
    write_rows(folder / "timings.jsonl", timings)
    return counts


def _write(folder: Path, unwritten: list[tuple[Unit, Asked]], seed: int) -> None:
    """Write the units that are wholly graded, and let go of their texts."""
    for unit, asked in [pair for pair in unwritten if len(pair[0].verdicts) == pair[1].rollouts]:
        write_unit(folder, unit, asked.problems, asked.samples, seed)
        unit.rollouts.clear()
        unit.verdicts.clear()
        unwritten.remove((unit, asked))


def _raise(error: EngineError, source: Source, counts: Counts) -> None:
    words = f"--model {source.model.name}: {error}"
    if not counts.generated:
        raise InputError(words) from error
    stored = f"{counts.generated} rollouts were generated and are stored"
    if isinstance(error, NeverError):
        raise InputError(f"{words} ({stored})") from error
    raise Interrupted(f"{words} ({stored}; the same command goes on from here)") from error


def _unit(source: Source, asked: Asked) -> Unit:
    problems = {problem.id: problem for problem in asked.problems}
    return Unit(source.model.label, asked.config.name, asked.task.verifier, problems)


def _say(line: str, said: set[str]) -> None:
    """A line for the user, once."""
    if line not in said:
        said.add(line)
        print(f"groupwise: {line}", file=sys.stderr)


def _check_verifier(asked: Asked) -> None:
    """Raises InputError where the grader of a task cannot work here."""
    from importlib.util import find_spec

    from groupwise import verifiers

    name = asked.task.verifier
    for module, extra in getattr(verifiers.get(name), "requires", {}).items():
        if find_spec(module) is None:
            raise InputError(f"--task {asked.config.name}: needs {module}: {from_extra(extra)}")
    try:
        verifiers.environment(name)
    except Unavailable as error:
        raise InputError(f"--task {asked.config.name}: {error}") from error


def _tasks(plan: Plan) -> dict[str, Any]:
    return {f"evaluation.tasks.{number}": task(asked.config, asked.problems)
            for number, asked in enumerate(plan.tasks)}  # fmt: skip


def _experiment(plan: Plan, sources: Sequence[Source], options: argparse.Namespace) -> dict[str, Any]:
    """What was asked of which models, and what they are."""
    experiment = plan.experiment()
    for source in sources:
        experiment["models"][source.model.label] |= {**source.about, **source.identity}
    if options.engine in ("transformers", "vllm"):
        # All three may move the last bits of a sum, and with them, rarely, a token.
        experiment["compute"] = {"device": options.device, "threads": options.threads, "rows": options.rows}
    return experiment


def _default_name(plan: Plan, experiment: Mapping[str, Any]) -> str:
    """The same for the same command, another for another."""
    digest = sha256(json.dumps(experiment, sort_keys=True).encode()).hexdigest()[:8]
    parts = [_few([model.label for model in plan.models]), _few([one.config.name for one in plan.tasks])]
    return "-".join(["evaluate", *parts, digest])


def _few(names: Sequence[str]) -> str:
    return "-".join([*names[:NAMED], *([f"and_{len(names) - NAMED}_more"] if len(names) > NAMED else [])])


def _check_sums(place: Path) -> None:
    """Raises InputError for a record that changed after it was written."""
    try:
        check_sums(place)
    except RecordError as error:
        raise InputError(f"{error}; choose another --out to make it again from the stored rollouts") from error


def _same_evaluation(place: Path, manifest: Mapping[str, Any]) -> None:
    """Raises InputError unless the folder is this very evaluation."""
    file = place / "manifest.json"
    try:
        before = read_manifest(file) if file.is_file() else {}
    except RecordError as error:
        raise InputError(f"{error}; choose another --out") from error
    if before.get("kind") != "evaluation":
        raise InputError(f"{place}: exists already and is no evaluation; choose another --out")
    now = json.loads(json.dumps(manifest))
    if difference := _difference(before.get("experiment"), now["experiment"], "experiment"):
        raise InputError(f"{file}: {difference}; choose another --out")
    graded, again = (one.get("provenance", {}).get("tasks") for one in (before, now))
    if difference := _difference(graded, again, "provenance.tasks"):
        raise InputError(f"{file}: {difference}; `groupwise evaluate --rescore {place}` grades it again, or choose "
                         "another --out")  # fmt: skip


def _difference(old: Any, new: Any, key: str) -> str:
    """The first place where two JSON values differ, in words; nothing where they do not."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*new, *(name for name in old if name not in new)]
        return next((words for name in names
                     if (words := _difference(old.get(name), new.get(name), f"{key}.{name}"))), "")  # fmt: skip
    return "" if old == new else f"{key}: it was made with {old!r:.80}, not {new!r:.80}"
