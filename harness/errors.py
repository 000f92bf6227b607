"""The one exception that reaches a user as a single line and exit code 2."""

from __future__ import annotations

import errno

# What a file system says when it takes no more: nothing of ours is at fault, and what is there stays.
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})


class InputError(Exception):
    """Bad input. The message names the file and the key, and says what was expected."""


def printable(text: str) -> str:
    """Text that comes from outside, with what a terminal would obey (or hide) written as an escape."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
