"""Where an endpoint is, and the key it is given: only from the environment, and only where nobody else reads it."""

from __future__ import annotations

import ipaddress
import os
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from groupwise.harness.errors import InputError, printable

T = TypeVar("T")

KEY_VARIABLES = ("GROUPWISE_API_KEY", "OPENAI_API_KEY")
# Shorter ones are placeholders for servers that want any key ("EMPTY"); taking them out of texts would harm the texts.
SECRET_CHARACTERS = 8
HIDDEN = "[key]"
_CALLS = ("/chat/completions", "/completions", "/models")


def base_of(url: str) -> str:
    """The base that paths are added to: no slash at its end, ``/v1`` where no path is given.

    Raises InputError for what is no http(s) URL, or may hold a secret.
    """
    shown = printable(url.partition("?")[0].partition("#")[0].rpartition("@")[2])[:100]
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port, or half an IPv6 address
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise InputError(f"endpoint: {shown}: expected http(s)://host[:port]/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            f"endpoint: {shown}: a URL with user, password or query would be written into records; "
            f"put the key into {KEY_VARIABLES[0]}"
        )
    path = parts.path.rstrip("/")
    for call in _CALLS:
        path = path.removesuffix(call)
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def is_loopback(base: str) -> bool:
    """Whether the host is this machine by its name or number."""
    host = urlsplit(base).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def key_for(base: str, variable: str | None) -> str | None:
    """The key for this endpoint, or None. ``variable``: None for the usual ones, "" for no key at all.

    Raises InputError for a variable that is not set, a key that cannot be sent, and one that would travel in the clear.
    """
    names = KEY_VARIABLES if variable is None else (variable,) if variable else ()
    name = next((name for name in names if os.environ.get(name, "").strip()), None)
    if name is None:
        if variable:
            raise InputError(f"endpoint: the environment variable {printable(variable)} is not set")
        return None
    key = os.environ[name].strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"endpoint: {name}: expected printable ASCII without blanks")
    if urlsplit(base).scheme == "http" and not is_loopback(base):
        raise InputError(
            f"endpoint: {base}: the key in {name} would be sent unencrypted; use https, a tunnel to this machine, "
            "or an empty name of the key's variable to send none"
        )
    return key


def scrubbed(found: T, key: str | None) -> T:
    """What the server said (text, or parsed JSON) without the key in any text."""
    if key is None or len(key) < SECRET_CHARACTERS:
        return found
    return cast(T, _without(found, key))


def _without(found: Any, key: str) -> Any:
    if isinstance(found, str):
        return found.replace(key, HIDDEN)
    if isinstance(found, dict):
        return {name: _without(value, key) for name, value in found.items()}
    if isinstance(found, list):
        return [_without(value, key) for value in found]
    return found
