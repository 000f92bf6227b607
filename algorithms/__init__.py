"""Group-based optimizers for language models: how to learn from a group of rollouts.

An algorithm is one file here and one line in ``REGISTRY``, or an entry point of the group
``groupwise.algorithms`` in another distribution. Nothing is imported before it is asked for, and nothing here
imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields
from importlib import import_module
from importlib.metadata import entry_points
from inspect import getdoc
from typing import Any

from groupwise.algorithms.base import Algorithm
from groupwise.algorithms.options import accepted, used_by

ENTRY_POINTS = "groupwise.algorithms"

REGISTRY: Mapping[str, str] = {
    "grpo": "groupwise.algorithms.grpo:GRPO",
    "dapo": "groupwise.algorithms.dapo:DAPO",
    "grpo_paper": "groupwise.algorithms.grpo_paper:GRPOPaper",
    "grpo_trl": "groupwise.algorithms.grpo_trl:GRPOTRL",
    "grpo_verl": "groupwise.algorithms.grpo_verl:GRPOVerl",
    "grpo_open_instruct": "groupwise.algorithms.grpo_open_instruct:GRPOOpenInstruct",
    "dr_grpo": "groupwise.algorithms.dr_grpo:DrGRPO",
    "gspo": "groupwise.algorithms.gspo:GSPO",
    "cispo": "groupwise.algorithms.cispo:CISPO",
    "rloo": "groupwise.algorithms.rloo:RLOO",
    "reinforce": "groupwise.algorithms.reinforce:Reinforce",
    "reinforce_pp": "groupwise.algorithms.reinforce_pp:ReinforcePP",
    "reinforce_pp_baseline": "groupwise.algorithms.reinforce_pp_baseline:ReinforcePPBaseline",
    "gpg": "groupwise.algorithms.gpg:GPG",
    "sapo": "groupwise.algorithms.sapo:SAPO",
    "grpo_passk": "groupwise.algorithms.grpo_passk:GRPOPassK",
    "gcpo_cooperative": "groupwise.algorithms.gcpo_cooperative:GCPOCooperative",
    "gcpo_contrastive": "groupwise.algorithms.gcpo_contrastive:GCPOContrastive",
    "copo": "groupwise.algorithms.copo:COPO",
    "gapo_group_aware": "groupwise.algorithms.gapo_group_aware:GAPOGroupAware",
    "gapo_adaptive": "groupwise.algorithms.gapo_adaptive:GAPOAdaptive",
    "igrpo": "groupwise.algorithms.igrpo:IGRPO",
    "gdpo": "groupwise.algorithms.gdpo:GDPO",
    "srpo": "groupwise.algorithms.srpo:SRPO",
    "dpo": "groupwise.algorithms.dpo:DPO",
    "sft": "groupwise.algorithms.sft:SFT",
}


class UnknownAlgorithm(ValueError):
    """A name that no algorithm has. The message lists the known ones."""


def _locations() -> dict[str, str]:
    """Name -> "module:Class"; an entry point cannot take the name of a built-in algorithm."""
    others = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    return {**REGISTRY, **{name: value for name, value in sorted(others.items()) if name not in REGISTRY}}


def names() -> list[str]:
    """The names of all algorithms: the built-in ones first, then those of other distributions."""
    return list(_locations())


def get(name: str) -> type[Algorithm]:
    """The class of that name.

    Raises UnknownAlgorithm for a name that does not exist, TypeError for an entry point that is no Algorithm.
    """
    locations = _locations()
    if name not in locations:
        raise UnknownAlgorithm(f"unknown algorithm {name!r}: expected one of {', '.join(locations)}")
    module, _, attribute = locations[name].partition(":")
    found = getattr(import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise TypeError(f"algorithm {name!r}: {locations[name]} is not a subclass of Algorithm")
    return found


def make(name: str, **options: Any) -> Algorithm:
    """The algorithm with these hyper-parameters; the others keep their defaults.

    Raises UnknownAlgorithm, or ValueError for an option that does not exist or a value it does not accept.
    """
    algorithm = get(name)
    known = [option.name for option in hyper_parameters(algorithm)]
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}: expected one of {', '.join(known)}")
    values: dict[str, Any] = {key: _frozen(value) for key, value in options.items()}
    return algorithm(**values)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def hyper_parameters(algorithm: type[Algorithm]) -> list[Field[Any]]:
    """The options that the class has a use for."""
    return [option for option in fields(algorithm) if used_by(algorithm, option)]


def describe(name: str, **options: Any) -> dict[str, Any]:
    """What the algorithm is, as plain JSON data.

    Keys: name, description, formula, recipe (a mapping) and hyper_parameters (a list of name, default,
    accepted, doc, source). Formula and recipe are those with the options. Raises what ``make`` raises.
    """
    algorithm = make(name, **options)
    recipe = {key: plain(value) for key, value in asdict(algorithm.recipe).items()}
    return {
        "name": name,
        "description": getdoc(type(algorithm)),
        "formula": algorithm.recipe.formula(),
        "recipe": recipe,
        "hyper_parameters": [
            {
                "name": option.name,
                "default": None if option.default is MISSING else plain(option.default),
                "accepted": accepted(option),
                "doc": option.metadata["doc"],
                "source": option.metadata["source"],
            }
            for option in hyper_parameters(type(algorithm))
        ],
    }


def plain(value: Any) -> Any:
    """The value of an option or of a part of a recipe as JSON has it: a list for a tuple."""
    return list(value) if isinstance(value, tuple) else value
