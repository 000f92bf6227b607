"""The one exception that reaches a user as a single line and exit code 2."""

from __future__ import annotations

import errno
import re

# What a file system says when it takes no more: nothing of ours is at fault, and what is there stays.
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
RUST = re.compile(r"\(os error (\d+)\)")  # how what is written in Rust ends its words about such an error
LONGEST = 1600  # letters of a message: a path has room in each half of it


class InputError(Exception):
    """Bad input. The message names the file and the key, and says what was expected."""


class Failure(Exception):
    """What ends a unit without a mistake of the code. The message is one line that says all there is to say."""


def from_extra(name: str) -> str:
    """The end of "needs LIBRARY: ...", as right for a checkout as for a package from somewhere else."""
    return f"the extra `{name}` of groupwise has it (in a checkout: pip install '.[{name}]')"


def unwritable(error: BaseException | None) -> bool:
    """Whether a file system took no more: an OSError, or what safetensors, written in Rust, makes of one."""
    told = None if error is None else RUST.search(str(error))
    return (error.errno if isinstance(error, OSError) else int(told[1]) if told else None) in UNWRITABLE


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, or torch's on a GPU, or torch's on a CPU, which is told by its words only."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(error)


def printable(text: str) -> str:
    """Text that comes from outside, with what a terminal would obey (or hide) written as an escape."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def one_line(error: object) -> str:
    """What an exception says, for a terminal: one line, cut in the middle where somebody's value makes it endless."""
    text = printable(str(error))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"
