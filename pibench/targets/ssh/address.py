"""A board's address `ssh://[USER@]HOST[:PORT]`; the user's SSH configuration has the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from pibench.errors import InvalidInputError

SCHEME: Final = "ssh://"
_EXAMPLE: Final = "write it as ssh://pi@raspberrypi.local or ssh://pi@[fe80::1%25eth0]:2222"


@dataclass(frozen=True, kw_only=True)
class Address:
    """A board's host, with user and port where given. The host may be an alias."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """Return the address as `ssh` takes it: `pi@host`, with the port where one is given."""
        name = f"{self.user}@{self.host}" if self.user else self.host
        return f"{name} port {self.port}" if self.port else name

    @property
    def url(self) -> str:
        """Return the address as it is given to pibench."""
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{SCHEME}{user}{host}" + (f":{self.port}" if self.port else "")

    def ssh(self) -> str:
        """Return the command by which the user connects by hand."""
        name = f"{self.user}@{self.host}" if self.user else self.host
        return f"ssh -p {self.port} {name}" if self.port else f"ssh {name}"

    def known_as(self) -> str:
        """Return the host's name in known_hosts."""
        return f"[{self.host}]:{self.port}" if self.port and self.port != 22 else self.host


def parse(text: str) -> Address:
    """Parse a URL. Raises InvalidInputError for one that is not an SSH address."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidInputError(f"{text}: {error}", hint=_EXAMPLE) from None
    if not text.startswith(SCHEME) or not parts.hostname:
        raise InvalidInputError(f"{text} names no host", hint=_EXAMPLE)
    if parts.password is not None:
        raise InvalidInputError(
            f"the address of {parts.hostname} holds a password, and none is ever used",
            hint=f"give a key: ssh-copy-id {parts.username}@{parts.hostname}, or --identity FILE",
        )
    if parts.path.strip("/") or parts.query or parts.fragment or port == 0:
        raise InvalidInputError(f"{text} has more in it than user, host and port", hint=_EXAMPLE)
    # urlsplit lowers the case of a host, which the user's alias may depend on.
    host = unquote(parts.netloc.rpartition("@")[2])
    host = host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]
    if host.startswith("-") or (parts.username or "").startswith("-"):
        raise InvalidInputError(f"{text} names no host", hint=_EXAMPLE)
    user = unquote(parts.username) if parts.username else None
    return Address(host=host, user=user, port=port)
