"""Install Python packages into the environment of the Python that runs this: by uv, else by pip.

uv installs in a fraction of pip's time, but does not read pip's configuration: indexes,
certificates and constraints are passed on to it. Where uv cannot be had, or fails, pip installs.

usage: install_packages.py ARGUMENT..., as for `pip install`, such as -e '.[dev]'
"""

from __future__ import annotations

import os
import subprocess
import sys
from ast import literal_eval
from collections.abc import Mapping
from importlib.util import find_spec

_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "constraint": "UV_CONSTRAINT",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
}
"""uv's variable for each setting of pip that decides from where a package comes, and which."""


def pip_settings(listed: str) -> dict[str, str]:
    """Return the settings that `pip config list` prints: of all commands, of install, of variables.

    Later lines are nearer: pip lists the machine's files, then the user's, then variables.
    """
    found: dict[str, str] = {}
    for scope in ("global.", "install.", ":env:."):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(scope):
                found[name.removeprefix(scope)] = literal_eval(value)
    return found


def uv_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make uv look where pip would."""
    made = {
        _VARIABLES[name]: (",".join if name == "find-links" else " ".join)(value.split())
        for name, value in settings.items()
        if name in _VARIABLES
    }
    # pip takes the best version of all indexes; by default uv takes the first index that has any.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **made}


def install_by_uv(arguments: list[str]) -> bool:
    """Install the packages by uv, and uv before them; return whether that succeeded."""
    if not find_spec("uv") and run_quietly(*_PIP, "install", "--no-compile", "uv").returncode != 0:
        return False
    settings = pip_settings(run_quietly(*_PIP, "config", "list").stdout)
    uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable)
    # A variable of uv that the user has set decides.
    return (
        run_quietly(*uv, *arguments, env={**uv_variables(settings), **os.environ}).returncode == 0
    )


def run_quietly(
    *argv: str, env: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    return subprocess.run(argv, env=env, check=False, capture_output=True, text=True)


def main() -> None:
    """Install; pip's errors are shown, and its exit code is the program's."""
    arguments = sys.argv[1:]
    if not arguments:
        sys.exit(__doc__)
    if not install_by_uv(arguments):
        sys.exit(
            subprocess.run([*_PIP, "install", "--no-compile", *arguments], check=False).returncode
        )


if __name__ == "__main__":
    main()
