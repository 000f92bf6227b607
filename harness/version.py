"""Which groupwise this is."""

from __future__ import annotations


def installed_version() -> str:
    """As its package says it; `unknown` in a checkout that is not installed."""
    from importlib import metadata  # where asked for: it would slow every start of the command line

    try:
        return metadata.version("groupwise")
    except metadata.PackageNotFoundError:
        return "unknown"
