"""The one exception that reaches a user as a single line and exit code 2."""

from __future__ import annotations


class InputError(Exception):
    """Bad input. The message names the file and the key, and says what was expected."""
