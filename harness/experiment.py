"""The experiment file: which optimizers, which model, which tasks, one budget, N seeds.

Everything is checked here, before anything is drawn or written; each error is one line that names the
file, the line and the key, and says what was expected.
"""

from __future__ import annotations

import tomllib
from contextlib import suppress
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from groupwise import algorithms, tasks
from groupwise.algorithms.base import Algorithm
from groupwise.harness import importance
from groupwise.harness.errors import InputError
from groupwise.harness.jsontext import check_depth, loads
from groupwise.harness.layout import BASE
from groupwise.harness.report.checks import LABEL, LARGEST, SEEDS, shown
from groupwise.tasks.base import DataError, Problem, Task

Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"  # becomes a part of file names, as labels do
SOLUTIONS = "reference solutions"
COLDEST = 1e-6  # lower temperatures overflow float32; 0 means greedy where it is offered


class Section(BaseModel):
    """A table of the file. Unknown keys are errors: a misspelt key must never be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LoraConfig(Section):
    """Low-rank adapters in place of full fine-tuning (Hu et al., 2106.09685). ``alpha`` / ``rank`` is the factor of
    what they add; ``target_modules``: names of linear layers, or all but the output layer."""

    rank: Positive = 16
    alpha: Positive = 32
    target_modules: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"


class ModelConfig(Section):
    """``name``: ``embedded``, a hub id, or a local folder. ``dtype``: of the matrix products; weights
    and optimizer stay float32. ``prompt``: ``chat`` goes through the tokenizer's chat template (``plain`` where
    it has none), ``plain`` is text to be continued, for base models."""

    name: str = "embedded"
    revision: str | None = None
    prompt: Literal["chat", "plain"] = "chat"
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora: LoraConfig | None = None


class TaskConfig(Section):
    """A task by its registry name. ``problems``: take the first so many of the split; all if absent."""

    name: str
    split: str
    problems: Positive | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    def make(self) -> Task:
        """The task with its options."""
        return tasks.make(self.name, **self.options)


def _named_once(tables: list[TaskConfig]) -> list[TaskConfig]:
    if len({table.name for table in tables}) < len(tables):
        raise ValueError("each task once: records and random numbers are kept by task name")
    return tables


Tasks = Annotated[list[TaskConfig], Field(min_length=1), AfterValidator(_named_once)]


class BudgetConfig(Section):
    """One training budget for every optimizer."""

    unit: Literal["rollouts", "generated_tokens"] = "rollouts"
    total: Positive


class SamplingConfig(Section):
    """How completions are drawn. ``max_new_tokens`` absent: each task's own limit."""

    temperature: Annotated[float, Field(ge=COLDEST)] = 1.0
    max_new_tokens: Positive | None = None


class EngineConfig(Section):
    """Where training rollouts and evaluations come from. ``importance``: how the gap between the engine's
    log-probabilities and the trainer's is corrected (``token``: a weight for each token, ``sequence``: one for each
    rollout, both cut off at ``importance_cap``; Yao et al. 2025, truncated importance sampling).

    For vllm: ``eager`` leaves out compiling the model, which takes a minute and more at each start; ``cache_gib``:
    memory of its key-value cache.
    """

    name: Literal["transformers", "vllm"] = "transformers"
    importance: Literal["none", "token", "sequence"] = "none"
    importance_cap: Annotated[float, Field(ge=1)] = 2.0
    eager: bool = True
    cache_gib: Annotated[float, Field(gt=0)] = 1.0


class TrainConfig(Section):
    """What is the same for every optimizer: batches, the optimizer's learning rate and its schedule."""

    tasks: Tasks
    problems_per_batch: Positive = 8
    group_size: Annotated[int, Field(ge=2)] = 8
    minibatches: Positive = 1
    epochs: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)] = 1e-6
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: Share = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    micro_batch_tokens: Positive = 16384
    sampling: SamplingConfig = SamplingConfig()
    checkpoints: Positive = 10
    keep_weights: bool = True


class WarmStartConfig(Section):
    """Supervised fine-tuning on worked solutions, once, before every optimizer starts from the result.

    It runs alone, so it may have ``threads`` of its own.
    """

    tasks: Tasks
    steps: Positive
    batch_size: Positive = 16
    threads: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5


class EvaluationConfig(Section):
    """Held-out problems, ``samples`` completions each. ``curve_*``: the smaller evaluations while training,
    at ``curve_points`` equal steps of the budget (the last one is the final evaluation)."""

    tasks: Tasks
    samples: Positive = 8
    k: Annotated[list[Positive], Field(min_length=1)] = [1]
    curve_points: Positive = 1
    curve_problems: Positive | None = None
    curve_samples: Positive | None = None
    sampling: SamplingConfig = SamplingConfig()

    @model_validator(mode="after")
    def _k_at_most_n(self) -> Self:
        if max(self.k) > self.samples:
            raise ValueError(f"k: {max(self.k)} is greater than samples = {self.samples}; pass@k needs n >= k")
        if self.curve_samples is not None and self.curve_samples > self.samples:
            raise ValueError(f"curve_samples: {self.curve_samples} is greater than samples = {self.samples}")
        return self


class LeversConfig(Section):
    """What makes a step cheaper and changes no result beyond rounding; each can be switched off.

    ``shared_prefix``: a prompt goes through the model once for all its rollouts, in sampling and in training.
    ``drop_finished``: rows that ended leave the decode batch. ``reuse_logprobs``: those of an exact engine serve as the
    old policy's. ``skip_zero``: rollouts without advantage are left out where nothing else needs them.
    ``lazy_reference``: a reference model only where the optimizer asks for one. ``bucket_lengths``: micro-batches of
    rollouts of like length. ``fused_logprobs``: log-probabilities without a graph over the whole vocabulary.
    ``onednn``: float32 products of the training pass by oneDNN instead of MKL, on a processor. ``cast_once``: bfloat16
    weights kept between decode steps. ``overlap_grading``: finished rollouts are graded while others are decoded.
    """

    shared_prefix: bool = True
    drop_finished: bool = True
    reuse_logprobs: bool = True
    skip_zero: bool = True
    lazy_reference: bool = True
    bucket_lengths: bool = True
    fused_logprobs: bool = True
    onednn: bool = True
    cast_once: bool = True
    overlap_grading: bool = True


class ComputeConfig(Section):
    """``threads`` per process and ``replicas`` (processes that share a cell, with a GPU or ``threads`` each) decide
    the last bits of every sum, so they belong to the experiment; ``processes`` (cells at a time; 0: as many as the
    cores or GPUs allow) do not change any number."""

    threads: Positive = 1
    replicas: Positive = 1
    processes: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    rows: Positive = 128
    levers: LeversConfig = LeversConfig()
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]+)?)$")] = "cpu"

    @model_validator(mode="after")
    def _a_device_for_each(self) -> Self:
        if self.replicas > 1 and self.device.startswith("cuda:"):
            raise ValueError(f"device: {self.device} is one GPU; with replicas = {self.replicas} expected cuda or cpu")
        return self


class Experiment(Section):
    """A whole experiment file."""

    name: Annotated[str, Field(pattern=NAME)]
    description: str = ""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=SEEDS)]], Field(min_length=1)]
    model: ModelConfig = ModelConfig()
    budget: BudgetConfig
    train: TrainConfig
    warm_start: WarmStartConfig | None = None
    evaluation: EvaluationConfig
    engine: EngineConfig = EngineConfig()
    compute: ComputeConfig = ComputeConfig()
    algorithms: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]

    @model_validator(mode="after")
    def _a_gap_to_correct(self) -> Self:
        if self.engine.importance != "none" and self.engine.name == "transformers" and self.model.dtype == "float32":
            raise ValueError("engine: transformers in float32 has no gap to correct; expected importance = 'none'")
        return self

    @model_validator(mode="after")
    def _replicas_sample(self) -> Self:
        if self.compute.replicas > 1 and self.engine.name != "transformers":
            raise ValueError(f"engine: {self.engine.name} with compute.replicas > 1; expected name = 'transformers'")
        return self

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed once")
        return seeds

    def algorithm(self, label: str) -> Algorithm:
        """The optimizer behind a label. Raises ValueError for an unknown name or option."""
        options = {"group_size": self.train.group_size, **self.algorithms[label]}
        return algorithms.make(options.pop("name", label), **options)


def load(source: str, overrides: list[str]) -> tuple[Experiment, str]:
    """Read and check an experiment: a TOML file or the name of a shipped one, with ``key=value`` changes.

    Returns the experiment and the text it came from. Raises InputError.
    """
    path = Path(source)
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise InputError(f"{source}: no such experiment file")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{source}: cannot be read as UTF-8 text: {error}") from error
    else:
        shipped = shipped_experiments()
        if source not in shipped:
            close = get_close_matches(source, shipped, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise InputError(f"experiment {source!r}: expected a .toml file or one of {', '.join(shipped)}{meant}")
        text = shipped[source]
        source = f"{source}.toml"
    try:
        data = tomllib.loads(text)
        check_depth(data)
    except RecursionError:
        raise InputError(f"{source}: not valid TOML: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{source}: not valid TOML: {error}") from error
    for override in overrides:
        _set(data, override)
    lines = text if not overrides else ""  # a value from the command line stands on no line of the file
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        # A misspelt key is often missing under its right name too: the spelling is what to show.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        keys = [str(part) for part in first["loc"]]
        field, colon, words = _words(first).partition(": ")
        if first["type"] == "value_error" and colon and field.isidentifier():
            raise _problem(source, lines, [*keys, field], words) from error
        words = _misspelt(keys) if first["type"] == "extra_forbidden" else _words(first)
        raise _problem(source, lines, keys, words) from error
    _check(experiment, source, lines)
    return experiment, text


def shipped_experiments() -> dict[str, str]:
    """Name -> TOML text of the experiments in the package."""
    folder = resources.files("groupwise.harness.experiments")
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return {f.name.removesuffix(".toml"): f.read_text(encoding="utf-8") for f in sorted(files, key=lambda f: f.name)}


def load_problems(config: TaskConfig, data_dir: Path | None) -> list[Problem]:
    """The problems a task table asks for. Raises DataError or ValueError."""
    return tasks.problems_of(config.make(), config.split, data_dir)[: config.problems]


def _set(data: dict[str, Any], override: str) -> None:
    """Apply one ``--set a.b=value``; the value is read as JSON or as TOML, or taken as a string."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise InputError(f"--set {override}: expected key=value, as in train.learning_rate=1e-5")
    *tables, last = key.strip().split(".")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise InputError(f"--set {override}: {table} is not a table")
    data[last] = _value(override, value)


def _value(override: str, text: str) -> Any:
    """What follows a ``--set``. A list or table that is neither JSON nor TOML is a slip, and no text."""
    for read in (loads, _toml):
        with suppress(ValueError):
            return read(text)
    if text.lstrip()[:1] in ("[", "{"):
        raise InputError(f"--set {override}: expected a list or table as in JSON or TOML")
    return text


def _toml(text: str) -> Any:
    """A list, table or text of TOML: of the rest JSON knows what experiments have. Raises ValueError."""
    if text.lstrip()[:1] not in ("[", "{", "'"):
        raise ValueError("a plain text")
    try:
        value = tomllib.loads(f"value = {text}")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if set(value) != {"value"}:
        raise ValueError("more than one value")
    check_depth(value)
    return value["value"]


def _check(experiment: Experiment, source: str, text: str) -> None:
    """What the types alone cannot say: registries, task options, and that one batch fits the budget."""
    for key, config in task_tables(experiment):
        try:
            task = config.make()
        except (ValueError, TypeError) as error:
            raise _problem(source, text, [*key, "options" if config.options else "name"], str(error)) from error
        if config.split not in task.splits:
            words = f"{config.split!r} is not a split of {config.name}; expected one of {', '.join(task.splits)}"
            raise _problem(source, text, [*key, "split"], words)
    folded = [BASE, *(label.casefold() for label in experiment.algorithms)]
    for label in experiment.algorithms:
        if label != BASE and folded.count(label.casefold()) > 1:
            words = "differs from another label in capitals alone, which some file systems take for the same"
            raise _problem(source, text, ["algorithms", label], words)
        if label == BASE or not LABEL.fullmatch(label):
            expected = f"a label of letters, digits, _ and . other than {BASE!r}"
            raise _problem(source, text, ["algorithms", label], f"expected {expected}")
        try:
            algorithm = experiment.algorithm(label)
        except (ValueError, TypeError) as error:
            raise _problem(source, text, ["algorithms", label], str(error)) from error
        if refused := importance.refusal(algorithm, experiment.engine.importance):
            raise _problem(source, text, ["engine", "importance"], refused)
        batch = experiment.train.problems_per_batch * algorithm.group_size
        cost = batch if experiment.budget.unit == "rollouts" else batch * _longest(experiment)
        if cost > experiment.budget.total:
            words = f"{experiment.budget.total} {experiment.budget.unit} is less than one batch of {label} ({cost})"
            raise _problem(source, text, ["budget", "total"], f"{words}; expected at least {cost}")


def check_data(experiment: Experiment, source: str, data_dir: Path | None) -> None:
    """Load every task once, so that missing data is one clear line before anything is made."""
    if data_dir is not None and not data_dir.is_dir():
        raise InputError(f"{source}: --data-dir {data_dir}: expected an existing folder")
    for key, config in task_tables(experiment):
        try:
            problems = load_problems(config, data_dir)
            if not problems:
                raise DataError("no problems")
            needed = _solutions_needed_by(experiment, key[0])
            if needed and any(problem.solution is None for problem in problems):
                raise DataError(f"{needed} needs worked solutions, and not every problem has one")
        except (DataError, ValueError, TypeError) as error:
            raise InputError(f"{source}: {'.'.join(key)} ({config.name}): {error}") from error


def _solutions_needed_by(experiment: Experiment, section: str) -> str | None:
    """Who learns from the worked solutions of the section's tasks; None when nobody does."""
    if section == "warm_start":
        return "the warm start"
    if section == "evaluation":
        return None
    learners = (label for label in experiment.algorithms if experiment.algorithm(label).recipe.supervision == SOLUTIONS)
    return next(learners, None)


def task_tables(experiment: Experiment) -> list[tuple[list[str], TaskConfig]]:
    """Every task table of the file with the key under which it stands."""
    warm = experiment.warm_start.tasks if experiment.warm_start else []
    sections = {
        "train": experiment.train.tasks,
        "warm_start": warm,
        "evaluation": experiment.evaluation.tasks,
    }
    return [
        ([section, "tasks", str(index)], config)
        for section, configs in sections.items()
        for index, config in enumerate(configs)
    ]


def _longest(experiment: Experiment) -> int:
    limit = experiment.train.sampling.max_new_tokens
    return limit or max(config.make().max_new_tokens for config in experiment.train.tasks)


def _words(error: Any) -> str:
    """pydantic's message, in the words of someone who writes the file."""
    if error["type"] == "missing":
        return "missing; this key is required"
    words = str(error["msg"]).removeprefix("Value error, ")
    return words if isinstance(error["input"], dict) else f"{words} (got {shown(error['input'])})"


def _misspelt(keys: list[str]) -> str:
    """What to say of a key that its table does not have."""
    schema = Experiment.model_json_schema()
    table = schema
    for key in keys[:-1]:
        inner = table.get("items") if key.isdigit() else table.get("properties", {}).get(key)
        choices = [inner or {}, *(inner or {}).get("anyOf", [])]
        place = next((one for one in choices if "$ref" in one), inner or {})
        table = schema["$defs"][place["$ref"].rpartition("/")[2]] if "$ref" in place else place
    known = list(table.get("properties", {}))
    if close := get_close_matches(keys[-1], known, n=1):
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; expected one of {', '.join(known)}" if known else "unknown key"


def _problem(source: str, text: str, keys: list[str], words: str) -> InputError:
    line = _line_of(text, keys)
    key = ".".join(keys) or "experiment"
    return InputError(f"{source}{f':{line}' if line else ''}: {key}: {words}")


def _line_of(text: str, keys: list[str]) -> int | None:
    """The line that holds the key (or its table), found by reading; None when it is not in the text.

    A number in ``keys`` counts tables of the same name, as in ``train.tasks.1.name``.
    """
    table: list[str] = []
    counts: dict[str, int] = {}
    best: int | None = None
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.split("#")[0].strip()
        if stripped.startswith("["):
            name = stripped.strip("[] ")
            table = name.split(".")
            if stripped.startswith("[["):
                counts[name] = counts.get(name, -1) + 1
                table = [*table, str(counts[name])]
            if keys[: len(table)] == table:
                best = number
        elif "=" in stripped:
            key = stripped.split("=")[0].strip().strip('"').split(".")
            if keys[: len(table) + len(key)] == table + key:
                return number
    return best
