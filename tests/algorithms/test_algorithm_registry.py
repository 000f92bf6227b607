"""Options, registry and description of every algorithm."""

import json
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, fields
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest

import groupwise.algorithms as algorithms
from groupwise.algorithms import hyper_parameters
from groupwise.algorithms.base import Algorithm, Recipe
from groupwise.algorithms.options import accepted

NAMES = list(algorithms.REGISTRY)
every_name = pytest.mark.parametrize("name", NAMES)


# options, registry, description


@every_name
def test_options_say_what_they_are(name):
    algorithm = algorithms.get(name)
    assert algorithm.name == name
    for option in fields(algorithm):
        assert option.metadata["doc"]
        assert option.metadata["source"]
        assert option.kw_only


@every_name
def test_instances_are_frozen(name):
    with pytest.raises(FrozenInstanceError):
        algorithms.make(name).group_size = 3


def _refused(option):
    """Values that the option does not accept, from what it says it accepts."""
    rules, default = option.metadata, option.default
    if rules["choices"]:
        return ["no such word", 1, None]
    if isinstance(default, tuple):
        return [3, [""] if rules["low"] is None else [-1.0], [None]]
    if isinstance(default, bool):
        return ["yes", 1, None]
    numbers = [None, "8", True, float("nan"), float("inf")]
    numbers += [2.5] if isinstance(default, int) else []
    numbers += [rules["low"] - 1] if rules["low"] is not None else []
    return numbers + ([rules["above"]] if rules["above"] is not None else [])


@pytest.mark.parametrize(
    ("name", "option"), [(name, option.name) for name in NAMES for option in hyper_parameters(algorithms.get(name))]
)
def test_bad_values_are_refused_by_name(name, option):
    (field,) = (one for one in fields(algorithms.get(name)) if one.name == option)
    for value in _refused(field):
        with pytest.raises(ValueError, match=f"^{name}: {option} must be {re.escape(accepted(field))}, not "):
            algorithms.make(name, **{option: value})


@pytest.mark.parametrize(
    ("name", "option", "value", "expected"),
    [
        ("grpo", "group_size", 1, "a whole number of at least 2"),
        ("grpo", "epsilon", 0.0, "a number above 0"),
        ("copo", "dual_clip", 1, r"0 \(off\), or a number above 1"),
        ("copo", "mode", "soft", "one of 'no-global', 'only-global'"),
        ("dapo", "max_draws", 2.0, "a whole number of at least 1"),
        ("gcpo_cooperative", "divide_by_std", 1, "true or false"),
    ],
)
def test_what_is_accepted_is_said_in_words(name, option, value, expected):
    with pytest.raises(ValueError, match=f"^{name}: {option} must be {expected}"):
        algorithms.make(name, **{option: value})


def test_a_length_penalty_has_to_begin_at_a_length():
    with pytest.raises(ValueError, match="grpo: overlong_limit 64 is less than overlong_cache 4096"):
        algorithms.make("grpo", overlong_limit=64)
    algorithms.make("grpo", overlong_limit=64, overlong_cache=64)


@every_name
def test_options_without_a_place_in_the_formula_are_refused(name):
    algorithm = algorithms.get(name)
    known = {option.name for option in fields(algorithm)}
    assert algorithm.unused <= known
    assert "group_size" not in algorithm.unused
    for option in algorithm.unused:
        with pytest.raises(ValueError, match=f"{name} has no option '{option}'"):
            algorithms.make(name, **{option: 0.5})
        with pytest.raises(ValueError, match=f"{name}: {option} has no place in its formula"):
            algorithm(**{option: 0.5})


def test_whole_numbers_do_for_numbers():
    assert algorithms.make("grpo", epsilon=1, kl_coef=0).epsilon == 1


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match=r"grpo has no option 'beta': expected one of group_size, std_eps"):
        algorithms.make("grpo", beta=0.1)


def test_unknown_names_are_answered_with_the_known_ones():
    for call in (algorithms.get, algorithms.make, algorithms.describe):
        with pytest.raises(algorithms.UnknownAlgorithm, match="unknown algorithm 'gcpo': expected one of grpo, dapo"):
            call("gcpo")


def test_names_start_with_the_registry():
    assert algorithms.names()[: len(NAMES)] == NAMES


@dataclass(frozen=True, kw_only=True)
class Foreign(Algorithm):
    """An algorithm of another distribution."""

    name: ClassVar[str] = "foreign"

    @property
    def recipe(self) -> Recipe:
        return self.plain_recipe


@pytest.fixture
def other_distribution(monkeypatch):
    points = [
        EntryPoint("foreign", f"{__name__}:Foreign", algorithms.ENTRY_POINTS),
        EntryPoint("grpo", f"{__name__}:Foreign", algorithms.ENTRY_POINTS),
        EntryPoint("broken", "json:dumps", algorithms.ENTRY_POINTS),
    ]
    monkeypatch.setattr(algorithms, "entry_points", lambda group: points)


@pytest.mark.usefixtures("other_distribution")
def test_entry_points_add_algorithms_but_replace_none():
    assert algorithms.names() == [*NAMES, "broken", "foreign"]
    assert algorithms.make("foreign", group_size=3).group_size == 3
    assert algorithms.get("grpo") is not Foreign
    with pytest.raises(TypeError, match="json:dumps is not a subclass of Algorithm"):
        algorithms.get("broken")


def test_an_algorithm_without_a_recipe_cannot_be_made():
    with pytest.raises(TypeError, match="recipe"):
        Algorithm()


@every_name
def test_description_is_json_and_complete(name):
    description = algorithms.describe(name)
    assert json.loads(json.dumps(description)) == description
    assert description["name"] == name
    assert re.search(r"arXiv:\d{4}\.\d{5}|doi:10\.", description["recipe"]["citation"])
    assert description["formula"].startswith("A = ")
    assert "Supervision:" in description["description"]
    assert description["recipe"]["cost"]
    assert description["recipe"]["signal_free"]
    listed = [parameter["name"] for parameter in description["hyper_parameters"]]
    assert listed == [f.name for f in fields(algorithms.get(name)) if f.name not in algorithms.get(name).unused]
    for parameter in description["hyper_parameters"]:
        assert set(parameter) == {"name", "default", "accepted", "doc", "source"}


def test_only_the_cooperative_one_is_a_reconstruction():
    assert [name for name in NAMES if algorithms.make(name).recipe.reconstruction] == ["gcpo_cooperative"]


@every_name
def test_a_fresh_algorithm_takes_back_its_own_state_and_no_other(name):
    algorithm = algorithms.make(name)
    algorithm.load_state_dict(json.loads(json.dumps(algorithm.state_dict())))
    with pytest.raises(ValueError, match=name):
        algorithm.load_state_dict({"some other": 1})


def test_importing_everything_needs_numpy_alone():
    code = (
        "import sys, groupwise.algorithms as a\n"
        "[a.describe(name) for name in a.REGISTRY]\n"
        "heavy = ('torch', 'transformers', 'pandas', 'scipy', 'pydantic', 'matplotlib')\n"
        "ours = ('groupwise.harness', 'groupwise.tasks', 'groupwise.verifiers')\n"
        "print([m for m in sys.modules if m.startswith(ours) or m.split('.')[0] in heavy])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_imports_no_algorithm():
    code = (
        "import sys, groupwise.algorithms as a\n"
        "print([v for v in a.REGISTRY.values() if v.partition(':')[0] in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
