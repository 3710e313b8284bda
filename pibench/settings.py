"""Read the settings that users make by environment variables, and locate pibench's assets."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pibench.errors import HostError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_PACKAGE = Path(__file__).resolve().parent
NO_HOME = "/nonexistent"
"""Debian's home directory for a user without one."""


def complete_user() -> None:
    """Set the home and user name variables for a user id without an entry in the passwd file.

    Libraries ask for the home and the name, and raise various errors where neither is known.
    """
    if os.path.expanduser("~") == "~":  # noqa: PTH111  (Path.home() raises)
        os.environ["HOME"] = NO_HOME
    if not any(os.environ.get(name) for name in ("LOGNAME", "USER")):
        import pwd  # noqa: PLC0415  (start-up time)

        try:
            pwd.getpwuid(os.getuid())
        except KeyError:
            os.environ["LOGNAME"] = str(os.getuid())


def cache_dir() -> Path:
    """Return the folder for images: PIBENCH_CACHE_DIR, or `pibench` in the user's cache directory.

    If that does not exist and cannot be created, for example without a home, it is a private folder
    of the user among the temporary ones.

    Raises:
        HostError: None of these folders can be used.
    """
    override = os.environ.get("PIBENCH_CACHE_DIR")
    if override:
        try:
            return Path(override).expanduser().resolve()
        except (RuntimeError, OSError, ValueError) as error:
            raise HostError(
                f"PIBENCH_CACHE_DIR={override} is not a folder: {error}", hint="name another one"
            ) from None
    import platformdirs  # noqa: PLC0415  (start-up time)

    usual = platformdirs.user_cache_path("pibench")
    if os.environ.get("XDG_CACHE_HOME") or usual.exists() or _can_be_made(usual):
        return usual
    return _temporary_cache()


def _can_be_made(folder: Path) -> bool:
    above = next((path for path in folder.parents if os.access(path, os.F_OK)), None)
    return folder.is_absolute() and above is not None and os.access(above, os.W_OK | os.X_OK)


def _temporary_cache() -> Path:
    import tempfile  # noqa: PLC0415  (start-up time)

    hint = "name a folder of your own: PIBENCH_CACHE_DIR=DIR"
    try:
        folder = Path(tempfile.gettempdir()) / f"pibench-cache-{os.geteuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        place = error.filename or "no temporary folder"
        raise HostError(
            f"no home directory for the cache, and {place} is not usable: {error.strerror}",
            hint=hint,
        ) from None
    # Another user may have created it before.
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not mine or found.st_mode & 0o022:
        raise HostError(f"{folder}: other users may write there", hint=hint)
    return folder


_DEFAULTS = ("device", "target", "engine", "protocol")
"""The options that the environment and `[tool.pibench]` may give."""
_OPTIONS = (*_DEFAULTS, "reserve", "max_ms")
"""Those that the environment may give."""
_VARIABLES = frozenset(
    [f"PIBENCH_{name.upper()}" for name in _OPTIONS]
    + ["PIBENCH_CACHE_DIR", "PIBENCH_DEBIAN_MIRROR", "PIBENCH_MEMORY_ONLY_TIER"]
    + ["PIBENCH_TRACEBACK"]
    # Those of the gate's script.
    + ["PIBENCH_BASELINE", "PIBENCH_FAIL_ON", "PIBENCH_MODE", "PIBENCH_OUT", "PIBENCH_PROTOTXT"]
    + ["PIBENCH_INPUT", "PIBENCH_VENV"]
)


def check_variables(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse an environment variable that looks like pibench's and is not.

    Raises:
        InvalidInputError: A variable starts with `PIBENCH_` and has another name than those known.
    """
    unknown = sorted(
        name for name in environment if name.startswith("PIBENCH_") and name not in _VARIABLES
    )
    if unknown:
        raise InvalidInputError(
            f"environment variable {unknown[0]}: pibench reads no such variable",
            hint=f"unset it; {_meant(unknown[0], _VARIABLES)}",
        )


def with_sources(line: str, words: Sequence[str]) -> str:
    """Return an error's line, with what gives options or values in it that nobody typed.

    `words` are the arguments of the call.
    """
    typed = {word.partition("=")[0] for word in words}
    table: dict[str, str] = {}
    with contextlib.suppress(InvalidInputError):
        table = defaults([""]).get("", {})
    for name in _OPTIONS:
        variable, option = f"PIBENCH_{name.upper()}", f"--{name.replace('_', '-')}"
        value = os.environ.get(variable) or table.get(name)
        if not value or option in typed:
            continue
        if re.search(rf"{option}(?![\w-])|(?<![\w.-]){re.escape(value)}(?![\w.-])", line):
            source = variable if os.environ.get(variable) else "[tool.pibench] of pyproject.toml"
            line += f" ({source} gives {option})"
    return line


def _meant(word: str, known: Collection[str]) -> str:
    import difflib  # noqa: PLC0415  (start-up time)

    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"did you mean {close[0]}?" if close else f"it reads {', '.join(sorted(known))}"


def defaults(commands: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the defaults of options by command, from `[tool.pibench]` of a pyproject.toml.

    The file is the nearest one, in the current folder or above it.

    Raises:
        InvalidInputError: The file is not TOML, or the table has other keys or values than these.
    """
    try:
        here = Path.cwd()
    except OSError:
        return {}
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, ValueError):
            continue
        if "tool.pibench" not in text:
            return {}
        import tomllib  # noqa: PLC0415  (start-up time)

        try:
            table = tomllib.loads(text).get("tool", {}).get("pibench", {})
        except tomllib.TOMLDecodeError as error:
            raise InvalidInputError(f"{file}: {error}", hint="correct the file") from None
        if not isinstance(table, dict):
            raise InvalidInputError(
                f"{file}: tool.pibench is not a table", hint="write [tool.pibench]"
            )
        for key, value in table.items():
            if key not in _DEFAULTS:
                hint = _meant(key, _DEFAULTS)
                raise InvalidInputError(f"{file}: [tool.pibench] has no {key!r}", hint=hint)
            if not isinstance(value, str):
                raise InvalidInputError(
                    f"{file}: [tool.pibench] {key} is not a text", hint=f'write {key} = "..."'
                )
        return {command: dict(table) for command in commands}
    return {}


def debian_mirror() -> str | None:
    """Return the mirror for packages, where it replaces the host's own; None by default.

    Raises:
        InvalidInputError: It is no address that apt knows.
    """
    mirror = os.environ.get("PIBENCH_DEBIAN_MIRROR") or None
    if mirror and not re.fullmatch(r"((https?|ftp)://[^\s/\"']|file:/)[^\s\"']*", mirror):
        raise InvalidInputError(
            "PIBENCH_DEBIAN_MIRROR is not the address of a mirror",
            hint="set it to one such as http://HOST/debian",
        )
    return mirror.rstrip("/") if mirror else None


def wants_real_loops() -> bool:
    """Return whether memory-only compute replaces the BLAS alone: PIBENCH_MEMORY_ONLY_TIER=blas.

    Raises:
        InvalidInputError: The variable has another value than `blas` or `loops`, the default.
    """
    tier = os.environ.get("PIBENCH_MEMORY_ONLY_TIER") or "loops"
    if tier not in ("blas", "loops"):
        raise InvalidInputError(
            f"PIBENCH_MEMORY_ONLY_TIER={tier}: there is no such tier of memory-only compute",
            hint="set it to blas, or to loops, which is the default",
        )
    return tier == "blas"


def traceback_wanted() -> bool:
    """Return whether internal errors are shown with a Python traceback: PIBENCH_TRACEBACK."""
    return bool(os.environ.get("PIBENCH_TRACEBACK"))


def asset(relative: str) -> Path:
    """Return the path of an asset such as `qemu/init`.

    A checkout has `docker/` and `qemu/` at its top level, where readers expect them; the wheel has
    the same folders as `pibench/_assets` (see pyproject.toml).

    Raises:
        HostError: The installation is incomplete.
    """
    for base in (_PACKAGE / "_assets", _PACKAGE.parent):
        path = base / relative
        if path.exists():
            return path
    raise HostError(
        f"the file {relative} is missing from this installation of pibench",
        hint="reinstall it: pip install --force-reinstall pibench",
    )
