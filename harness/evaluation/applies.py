"""Which options mean something with which engine: one that would do nothing is refused, not passed over."""

from __future__ import annotations

import argparse
from typing import Any

from groupwise.harness.errors import InputError

LOCAL = ("transformers", "vllm")
GENERATING = (*LOCAL, "openai")
ENGINES = {
    "temperature": GENERATING, "top_p": GENERATING, "max_new_tokens": GENERATING,
    "adapter": ("transformers",), "revision": LOCAL, "dtype": LOCAL, "device": LOCAL, "rows": LOCAL,
    "cache_gib": ("vllm",),
    "base_url": ("openai",), "api": ("openai",), "concurrency": ("openai",), "timeout": ("openai",),
    "requests_per_minute": ("openai",), "tokens_per_minute": ("openai",), "api_key_env": ("openai",),
    "body": ("openai",),
}  # fmt: skip
OF_RESCORE = {"rescore", "out", "threads", "json"}


def check_engine(options: argparse.Namespace) -> None:
    """Raises InputError for an option that the engine has no use for."""
    for name in _given(options):
        engines = ENGINES.get(name, (options.engine,))
        if options.engine not in engines:
            expected = " or ".join(engines)
            raise InputError(f"{_words(name, options)}: expected --engine {expected} with it, not {options.engine}")


def check_rescore(options: argparse.Namespace) -> None:
    """Raises InputError for an option of what is not done again."""
    for name in _given(options):
        if name not in OF_RESCORE:
            raise InputError(
                f"--rescore {options.rescore}: models, tasks, rollouts and pass@k are those of the run; "
                f"expected no --{name.replace('_', '-')}"
            )


def _given(options: argparse.Namespace) -> list[str]:
    """The options that are not as they would be if nothing were given."""
    return [name for name, default in options.defaults.items() if getattr(options, name) != default]


def _words(name: str, options: argparse.Namespace) -> str:
    value: Any = getattr(options, name)
    return f"--{name.replace('_', '-')} {' '.join(map(str, value)) if isinstance(value, list) else value}"
