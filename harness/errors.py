"""The one exception that reaches a user as a single line and exit code 2."""

from __future__ import annotations

import errno

# What a file system says when it takes no more: nothing of ours is at fault, and what is there stays.
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
LONGEST = 1600  # letters of a message: a path has room in each half of it


class InputError(Exception):
    """Bad input. The message names the file and the key, and says what was expected."""


def printable(text: str) -> str:
    """Text that comes from outside, with what a terminal would obey (or hide) written as an escape."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def one_line(error: object) -> str:
    """What an exception says, for a terminal: one line, cut in the middle where somebody's value makes it endless."""
    text = printable(str(error))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"
