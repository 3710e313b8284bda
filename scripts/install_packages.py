"""Install Python packages into the environment of the Python that runs this: by uv, else by pip.

uv installs in a fraction of pip's time, but does not read pip's configuration: indexes,
certificates and constraints are passed on to it. Where uv cannot be had, or fails, pip installs.
An environment made --without-pip is ready seconds earlier: pip runs from Python's own wheel then.

usage: install_packages.py ARGUMENT..., as for `pip install`, such as -e '.[dev]'
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from ast import literal_eval
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

_INSTALL = ("--quiet", "--disable-pip-version-check", "install", "--no-compile")
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


def pip_command() -> list[str]:
    """Return what runs pip: the environment's, else the wheel from which ensurepip installs it.

    Raises:
        SystemExit: there is no wheel of pip either.
    """
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    # Debian keeps its wheels apart, and names their folder here.
    own = f"{sysconfig.get_path('stdlib')}/ensurepip/_bundled"
    folder = Path(sysconfig.get_config_var("WHEEL_PKG_DIR") or own)
    for wheel in sorted(folder.glob("pip-*.whl")):
        return [sys.executable, str(wheel / "pip")]
    sys.exit(f"pibench: no pip in this environment, and no wheel of it in {folder}")


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
    pip = pip_command()
    with subprocess.Popen(
        [*pip, "config", "list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as configuration:
        if not find_spec("uv") and run_quietly(*pip, *_INSTALL, "uv") != 0:
            return False
        settings = pip_settings(configuration.communicate()[0])
    uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable)
    # A variable of uv that the user has set decides.
    return run_quietly(*uv, *arguments, env={**uv_variables(settings), **os.environ}) == 0


def run_quietly(*argv: str, env: Mapping[str, str] = os.environ) -> int:
    """Run a command to its end, whatever that is, and return its exit code."""
    return subprocess.run(argv, env=env, check=False, capture_output=True).returncode


def main() -> None:
    """Install; pip's errors are shown, and its exit code is the program's."""
    arguments = sys.argv[1:]
    if not arguments or {"-h", "--help"} & {*arguments}:
        print(__doc__)
        sys.exit(0 if arguments else 2)
    if not install_by_uv(arguments):
        print("pibench: uv did not install the packages; pip installs them", file=sys.stderr)
        sys.exit(subprocess.run([*pip_command(), *_INSTALL, *arguments], check=False).returncode)


if __name__ == "__main__":
    main()
