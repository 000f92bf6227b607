"""Which optimizer runs in which library: `python -m groupwise.harness.handover.table` prints it as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from groupwise import algorithms
from groupwise.harness.handover.needs import DRAWS, TRL, VERL, Library, array_names, joined, standing

YES, HELP, NO = "yes", "with help", "no"


def cell(name: str, library: Library, **options: Any) -> str:
    """Whether the optimizer with these options runs in the library; and why not, or what it takes."""
    algorithm = algorithms.make(name, **options)
    found = standing(algorithm, library)
    if found.missing:
        return f"{NO}: {joined(found.missing)}"
    several = len(array_names(algorithm)) > 1 and library is VERL
    note = "; its arrays are summed" if several else ""
    if not found.to_supply:
        return YES + note
    return f"{HELP}: {' and '.join(dict.fromkeys(_help(need, library) for need in found.to_supply))}{note}"


def _help(need: str, library: Library) -> str:
    if need == DRAWS:
        return "`draws_elsewhere=True`"
    return "a `Judge`" if library is TRL else "`rows=True`"


def lines() -> Iterator[str]:
    """The table, row by row."""
    yield "| optimizer | TRL 1.16 | verl 0.9.1 |"
    yield "|---|---|---|"
    for name in algorithms.names():
        yield f"| `{name}` | {cell(name, TRL)} | {cell(name, VERL)} |"


OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "`mask_truncated`": {"mask_truncated": True},
    "`kl_coef`, `kl_place` reward": {"kl_coef": 0.1, "kl_place": "reward"},
    "`redundancy_coef`": {"redundancy_coef": 1.0},
}


def option_lines() -> Iterator[str]:
    """What single options ask for, whichever optimizer they belong to; here `grpo`'s."""
    yield "| option | TRL 1.16 | verl 0.9.1 |"
    yield "|---|---|---|"
    for label, given in OPTIONS.items():
        yield f"| {label} | {cell('grpo', TRL, **given)} | {cell('grpo', VERL, **given)} |"


def table() -> str:
    """Both tables."""
    return "\n".join([*lines(), "", *option_lines()])


def main() -> None:
    print(table())


if __name__ == "__main__":
    main()
