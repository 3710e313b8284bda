"""Connect to a board as the user's `ssh` would, without prompts and without trusting new hosts.

A board's address is `ssh://[USER@]HOST[:PORT]`. The user's ~/.ssh/config, agent and known_hosts
apply, except for options that would accept an unknown host. Nothing asks for a password.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from pibench.errors import HostError, InvalidInputError, extra

if TYPE_CHECKING:
    import asyncssh

# ruff: noqa: PLC0415  (asyncssh takes 0.3 s to import: only who connects pays for it)

CONNECT_DEADLINE_S: Final = 20.0
KEEPALIVE_S: Final = 10.0
"""A connection that is silent for three times as long counts as lost."""
_KNOWN_HOSTS: Final = (
    *("~/.ssh/known_hosts", "~/.ssh/known_hosts2"),
    *("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"),
)
SCHEME: Final = "ssh://"
_EXAMPLE: Final = "write it as ssh://pi@raspberrypi.local or ssh://pi@[fe80::1%25eth0]:2222"
_UNREACHED: Final = "check that it is on, its address and port, and that its SSH server is enabled"


@dataclass(frozen=True, kw_only=True)
class Address:
    """A board's host, with user and port where given. The host may be an alias."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """Return the address as `ssh` takes it: `pi@host`, with the port where one is given."""
        return f"{self._login} port {self.port}" if self.port else self._login

    @property
    def _login(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host

    @property
    def url(self) -> str:
        """Return the address as it is given to pibench."""
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{SCHEME}{user}{host}" + (f":{self.port}" if self.port else "")

    def ssh(self) -> str:
        """Return the command by which the user connects by hand."""
        return f"ssh -p {self.port} {self._login}" if self.port else f"ssh {self._login}"

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
            f"the address of {parts.hostname} contains a password, and none is ever used",
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


@dataclass(frozen=True, kw_only=True)
class Login:
    """The address and the key; without a key, SSH's own configuration chooses it."""

    address: Address
    identity: Path | None = None


@contextlib.asynccontextmanager
async def connected(login: Login) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Yield a connection; raises HostError with one line for whatever prevents it."""
    connection = await connect(login)
    try:
        yield connection
    finally:
        connection.abort()
        with contextlib.suppress(Exception):
            await connection.wait_closed()


async def connect(login: Login) -> asyncssh.SSHClientConnection:
    """Return a connection that the caller has to close."""
    with extra("ssh"):
        import asyncssh

    # asyncssh's own messages would repeat what pibench reports.
    logging.getLogger("asyncssh").setLevel(logging.CRITICAL)
    if login.identity is not None and not login.identity.expanduser().is_file():
        raise InvalidInputError(
            f"there is no key {login.identity}", hint="name a private key's file: --identity FILE"
        )
    options = None
    try:
        options = await _options(login)
        return await asyncssh.connect(login.address.host, options.port, options=options)
    except asyncssh.HostKeyNotVerifiable as error:
        raise await _untrusted(login, options, str(error)) from None
    except (asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost) as error:
        # The error is also this one where known_hosts has a key of a type that is not offered now.
        if options is not None and await _offers_no_known_key(login, options):
            raise await _untrusted(login, options, str(error)) from None
        raise _translated(login, error) from None
    except (asyncssh.Error, OSError, ValueError) as error:
        raise _translated(login, error) from None


async def _options(login: Login) -> Any:
    """Return the user's configuration for this host, with strict host key checking."""
    import asyncssh

    address = login.address
    # An empty tuple makes asyncssh read the user's ~/.ssh/config.
    named: dict[str, Any] = {"host": address.host, "config": ()}
    if address.port is not None:
        named["port"] = address.port
    if address.user is not None:
        named["username"] = address.user
    if login.identity is not None:
        named["client_keys"] = [str(login.identity.expanduser())]
    strict: dict[str, Any] = {
        "connect_timeout": CONNECT_DEADLINE_S,
        "login_timeout": CONNECT_DEADLINE_S,
        "keepalive_interval": KEEPALIVE_S,
        "password_auth": False,
        "kbdint_auth": False,
    }
    found = await asyncssh.SSHClientConnectionOptions.construct(**named, **strict)
    # None would accept any host, as `UserKnownHostsFile none` does.
    files = [
        str(path)
        for path in (Path(name).expanduser() for name in found.known_hosts or _KNOWN_HOSTS)
        if path.is_file()
    ]
    return await asyncssh.SSHClientConnectionOptions.construct(
        **named, **strict, known_hosts=files or b""
    )


def _trusted(login: Login, options: Any) -> list[Any]:
    """Return the host's keys in known_hosts."""
    import asyncssh

    port = options.port if options.port != 22 else None
    name = options.host_key_alias or options.host or login.address.host
    return list(asyncssh.match_known_hosts(options.known_hosts, name, "", port)[0])


async def _offered(login: Login, options: Any) -> Any:
    """Return the key that the host offers to any client, or None."""
    import asyncssh

    try:
        return await asyncssh.get_server_host_key(login.address.host, options.port)
    except (asyncssh.Error, OSError):
        return None


async def _offers_no_known_key(login: Login, options: Any) -> bool:
    trusted = _trusted(login, options)
    key = await _offered(login, options) if trusted else None
    return key is not None and key not in trusted


async def _untrusted(login: Login, options: Any, error: str) -> HostError:
    """Explain why the host is not trusted: it is unknown, or its key has changed."""
    address = login.address
    shown = Address(
        host=options.host_key_alias or options.host or address.host,
        port=options.port if options.port != 22 else None,
    )
    key = await _offered(login, options)
    fingerprint = f"{_kind(key)} {key.get_fingerprint()}" if key is not None else "not reported"
    if "revoked" in error:
        return _fault(login, f"its host key ({fingerprint}) is marked as revoked in known_hosts")
    if _trusted(login, options):
        return _fault(
            login,
            f"its host key has CHANGED (now {fingerprint}): another machine answers, "
            "or its system was installed again",
            hint=f"if it was, forget the old key (ssh-keygen -R '{shown.known_as()}') "
            f"and accept the new one ({address.ssh()})",
        )
    return _fault(
        login,
        f"its host key is not known here ({fingerprint})",
        hint="compare that with what the board itself reports (ssh-keygen -lf "
        f"/etc/ssh/ssh_host_{_kind(key).lower()}_key.pub), then accept it: {address.ssh()}",
    )


def _kind(key: Any) -> str:
    """Return what ssh calls the key's algorithm: ED25519, ECDSA or RSA."""
    algorithm = key.get_algorithm() if key is not None else "ssh-ed25519"
    return next((kind for kind in ("ED25519", "ECDSA") if kind.lower() in algorithm), "RSA")


def _translated(login: Login, error: Exception) -> HostError:
    import asyncssh

    address = login.address
    if isinstance(error, asyncssh.PermissionDenied):
        user = f"the user {address.user}" if address.user else "that user"
        return _fault(
            login,
            f"it lets {user} not in by any key at hand",
            hint=f"check the name; try {address.ssh()}, and if that asks for a password: "
            "ssh-copy-id, ssh-add for a key with a passphrase, or --identity FILE",
        )
    if isinstance(error, asyncssh.KeyImportError):
        which = f"the key {login.identity}" if login.identity else "a key"
        return _fault(
            login,
            f"{which} cannot be read: {error}",
            hint="a key with a passphrase is used through the agent: ssh-add FILE",
        )
    if isinstance(error, TimeoutError):
        return _fault(login, f"no answer within {CONNECT_DEADLINE_S:.0f} s", hint=_UNREACHED)
    if isinstance(error, OSError):
        return _fault(login, error.strerror or str(error), hint=_UNREACHED)
    return _fault(login, str(error), hint=f"see what {address.ssh()} says")


def _fault(login: Login, problem: str, *, hint: str | None = None) -> HostError:
    return HostError(f"{login.address}: {problem}", hint=hint)
