"""Resolve and download Debian packages with apt, a private configuration and no root.

A lock is made from the suite's signed lists. What it pins is fetched without them, by path and
SHA-256. The host's own package state is neither read nor changed. Only the mirror is taken from
the host, unless it is set.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from errno import ENOSPC
from itertools import chain
from os import strerror
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from pibench import file_io, settings
from pibench.errors import HostError
from pibench.images.recipe import LockedPackage, Recipe
from pibench.process import Completed, require_program, run

UPDATE_DEADLINE_S = 180.0
DOWNLOAD_DEADLINE_S = 900.0
FROM_ELSEWHERE: Final = (
    "copy the images from a machine that has them: pibench image save FILE there, "
    "pibench image load FILE here"
)
_HELPER = "/usr/lib/apt/apt-helper"
_FETCHES = 8
"""The number of fetches at a time: one process waits for a mirror's answer to each file."""
_FAILED = re.compile(r"E: Failed to fetch (\S+) +(404 |Hash Sum mismatch)")
"""How apt reports a package that a mirror does not have, or has with another content."""
_LEAST_FREE_BYTES = 64 << 20
"""What apt's lists and the smallest package take; with less free, the disk is full to apt."""
_NAMED = 3
"""The number of packages that a message names; it counts the others."""


@dataclass(frozen=True, order=True)
class Package:
    """A package as apt would download it."""

    name: str
    version: str
    path: str
    size_bytes: int


def shown(text: str) -> str:
    """Return a text without the user and the password of addresses in it."""
    return re.sub(r"(://)[^/@\s]+@", r"\1", text)


def debian_mirror() -> str:
    """Return the mirror's address: the setting, or else the one that this host's apt uses.

    Raises HostError when the host names no Debian mirror (it may be an
    Ubuntu) and none is set.
    """
    override = settings.debian_mirror()
    if override:
        return override
    if shutil.which("apt-get") is not None:
        listed = run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages"],
            deadline_s=30,
        )
        for line in listed.stdout.splitlines():
            uri, _, label = line.partition(" ")
            # The security archive is labelled Debian-Security and lacks most packages.
            if label == "Debian":
                return uri.rstrip("/")
    raise HostError(
        "this host's apt names no Debian mirror",
        hint="set one: PIBENCH_DEBIAN_MIRROR=http://HOST/debian",
    )


class Apt:
    """A private apt for one suite and architecture under `home`."""

    def __init__(self, home: Path, recipe: Recipe, architecture: str) -> None:
        self.home = home
        self.recipe = recipe
        self.architecture = architecture
        self._mirror = ""
        self._env = {"APT_CONFIG": str(home / "apt.conf"), "LC_ALL": "C"}

    def update(self) -> None:
        """Write the configuration and fetch the suite's package lists.

        Raises HostError when the mirror does not answer or no longer
        has the suite.
        """
        require_program("apt-get", package="apt")
        keyring = Path(self.recipe.keyring)
        if not keyring.exists():
            raise HostError(
                f"Debian's signing keys are missing: {keyring}",
                hint="sudo apt-get install debian-archive-keyring",
            )
        self._mirror = debian_mirror()
        self._write_configuration()
        (self.home / "etc/apt/sources.list").write_text(
            f"deb [signed-by={keyring}] {self._mirror} {self.recipe.suite} "
            f"{' '.join(self.recipe.components)}\n"
        )
        self.check(
            run(["apt-get", "update"], env=self._env, deadline_s=UPDATE_DEADLINE_S, check=False)
        )

    def suite_date(self) -> str:
        """Return the date of the suite's state on the mirror, from its Release file."""
        for path in (self.home / "var/lib/apt/lists").glob("*Release"):
            for line in path.read_text(errors="replace").splitlines():
                if line.startswith("Date: "):
                    return parsedate_to_datetime(line.removeprefix("Date: ")).date().isoformat()
        raise HostError(f"the mirror {shown(self._mirror)} gives no date for {self.recipe.suite}")

    def resolve(self, names: Iterable[str]) -> list[Package]:
        """Return what apt would install for these names, dependencies included, sorted."""
        done = run(
            ["apt-get", "install", "--yes", "--print-uris", *names],
            env=self._env,
            deadline_s=60,
            check=False,
        )
        self.check(done)
        uris = (line for line in done.stdout.splitlines() if line.startswith("'"))
        return sorted(package_of(line) for line in uris)

    def download(self, packages: Sequence[Package], into: Path) -> None:
        """Download these packages of the lists; apt checks their signed hashes.

        Raises HostError when the mirror does not answer or lacks some.
        """
        into.mkdir(parents=True, exist_ok=True)
        self.check(
            run(
                ["apt-get", "download", *(f"{one.name}={one.version}" for one in packages)],
                env=self._env,
                cwd=into,
                deadline_s=DOWNLOAD_DEADLINE_S,
                check=False,
            )
        )

    def fetch(self, locked: Sequence[LockedPackage], into: Path, *, suite_date: str) -> None:
        """Fetch exactly these files; apt checks their SHA-256. No list is needed, no key either.

        `suite_date` is the date of a state of the suite that has them all.

        Raises:
            HostError: the mirror lacks some, has another content, or does not answer.
        """
        require_program("apt-get", package="apt")
        self._mirror = debian_mirror()
        self._write_configuration()
        into.mkdir(parents=True, exist_ok=True)
        uris = [f"{self._mirror}/{quote(one.path)}" for one in locked]
        triples = [
            (uri, Path(one.path).name, f"SHA256:{one.sha256}")
            for uri, one in zip(uris, locked, strict=True)
        ]

        def fetch_part(first: int) -> Completed:
            return run(
                [_HELPER, "download-file", *chain.from_iterable(triples[first::_FETCHES])],
                env=self._env,
                cwd=into,
                deadline_s=DOWNLOAD_DEADLINE_S,
                check=False,
            )

        with ThreadPoolExecutor(_FETCHES) as pool:
            parts = list(pool.map(fetch_part, range(min(_FETCHES, len(triples)))))
        failed = dict(found for part in parts for found in _FAILED.findall(part.stderr))
        causes = [failed.get(uri, "") for uri in uris]
        missing = [
            one for one, cause in zip(locked, causes, strict=True) if cause.startswith("404")
        ]
        if missing:
            raise self._moved(self._named(missing), suite_date)
        for one, cause in zip(locked, causes, strict=True):
            if cause:
                raise HostError(
                    f"the package {one.name} {one.version} from the mirror {shown(self._mirror)} "
                    "differs from the one in the lock",
                    hint="check that the network lets apt through, or name another mirror: "
                    "PIBENCH_DEBIAN_MIRROR=http://HOST/debian",
                )
        for part in parts:
            self.check(part)

    def _write_configuration(self) -> None:
        for folder in (
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg",
        ):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        status = self.home / "var/lib/dpkg/status"
        status.touch()
        (self.home / "apt.conf").write_text(
            f'Dir "{self.home}";\n'
            f'Dir::State::status "{status}";\n'
            f'APT::Architecture "{self.architecture}";\n'
            f'APT::Architectures {{ "{self.architecture}"; }};\n'
            'APT::Install-Recommends "false";\n'
            # As root, apt drops to the user _apt, which may not enter pibench's cache.
            'APT::Sandbox::User "root";\n'
            'Acquire::Languages "none";\n'
            'Acquire::Retries "3";\n'
            # The suite is archived: its Release file has expired and stays so.
            'Acquire::Check-Valid-Until "false";\n'
        )

    def check(self, done: Completed) -> None:
        """Turn apt's error message into one line that states the fix."""
        complaints = [
            line for line in done.stderr.splitlines() if line.startswith(("E:", "Err:", "W:"))
        ]
        complaints = [shown(line) for line in complaints]
        text = " ".join(complaints)
        # `apt-get update` exits 0 when an index could not be fetched.
        if done.returncode == 0 and "Failed to fetch" not in text:
            return
        if shutil.disk_usage(self.home.parent).free < _LEAST_FREE_BYTES:
            # Where apt maps its cache into memory, a full disk kills it without a word.
            raise file_io.host_error(OSError(ENOSPC, strerror(ENOSPC), str(self.home.parent)))
        if "404" in text or "does not have a Release file" in text:
            raise self._moved("the suite's package lists", "")
        first = complaints[0] if complaints else shown(done.last_lines())
        first = first or f"apt ended with {done.returncode}"
        raise HostError(
            f"apt could not fetch {self.recipe.suite} for {self.architecture}: {first}",
            hint="check the network and the mirror (PIBENCH_DEBIAN_MIRROR=http://HOST/debian), "
            f"or {FROM_ELSEWHERE}",
        )

    def _named(self, missing: Sequence[LockedPackage]) -> str:
        """Return a text that names the missing packages, each with its path on any mirror."""
        names = [f"{one.name} {one.version} ({one.path})" for one in missing[:_NAMED]]
        more = len(missing) - len(names)
        return ", ".join(names) + (f" and {more} more" if more else "")

    def _moved(self, what: str, suite_date: str) -> HostError:
        """Return the error for files that the mirror lacks; it names Debian's archive."""
        suite = self.recipe.suite
        dated = f", such as that of {suite_date}" if suite_date else ""
        return HostError(
            f"the mirror {shown(self._mirror)} answers 404 for {suite} {self.architecture}: {what}",
            hint=f"name a mirror that still has {suite}: PIBENCH_DEBIAN_MIRROR=http://HOST/debian "
            f"(Debian's archive keeps old releases, its snapshot service every past state{dated}), "
            f"or {FROM_ELSEWHERE}",
        )


def package_of(line: str) -> Package:
    """Read one line of --print-uris: 'URI' FILENAME SIZE HASH."""
    uri, filename, size, *_ = line.split(" ")
    name, version, _ = filename.rsplit("_", 2)
    path = "pool/" + unquote(uri.strip("'")).partition("/pool/")[2]
    return Package(name=name, version=unquote(version), path=path, size_bytes=int(size))
