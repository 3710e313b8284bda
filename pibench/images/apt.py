"""Debian packages by apt itself, with a configuration of our own and no root.

apt resolves, downloads and checks signatures and hashes; the host's own
package state is neither read nor changed. Only the mirror is taken from the
host, unless it is set.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pibench import settings
from pibench.errors import EnvironmentFault
from pibench.images.recipe import Recipe
from pibench.process import Completed, require_program, run

UPDATE_DEADLINE_S = 180.0
DOWNLOAD_DEADLINE_S = 900.0
_MIRROR_HINT = (
    "name a mirror that carries it, perhaps Debian's archive: "
    "PIBENCH_DEBIAN_MIRROR=http://HOST/debian"
)


@dataclass(frozen=True, order=True)
class Package:
    """A package as apt would download it."""

    name: str
    version: str
    filename: str
    size_bytes: int


def debian_mirror() -> str:
    """The mirror's address: the setting, else the one that this host's apt uses.

    Raises EnvironmentFault when the host names no Debian mirror (it may be an
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
    raise EnvironmentFault(
        "this host's apt names no Debian mirror",
        hint="set one: PIBENCH_DEBIAN_MIRROR=http://HOST/debian",
    )


class Apt:
    """A private apt for one suite and architecture under `home`."""

    def __init__(self, home: Path, recipe: Recipe, architecture: str) -> None:
        self.home = home
        self.recipe = recipe
        self.architecture = architecture
        self._env = {"APT_CONFIG": str(home / "apt.conf"), "LC_ALL": "C"}

    def update(self) -> None:
        """Write the configuration and fetch the suite's package lists.

        Raises EnvironmentFault when the mirror does not answer or no longer
        carries the suite.
        """
        require_program("apt-get", package="apt")
        keyring = Path(self.recipe.keyring)
        if not keyring.exists():
            raise EnvironmentFault(
                f"Debian's signing keys are missing: {keyring}",
                hint="sudo apt-get install debian-archive-keyring",
            )
        self._write_configuration(debian_mirror(), keyring)
        self._check(
            run(["apt-get", "update"], env=self._env, deadline_s=UPDATE_DEADLINE_S, check=False)
        )

    def resolve(self, names: Iterable[str]) -> list[Package]:
        """What apt would install for these names, dependencies included, sorted."""
        done = run(
            ["apt-get", "install", "--yes", "--print-uris", *names],
            env=self._env,
            deadline_s=60,
            check=False,
        )
        self._check(done)
        uris = (line for line in done.stdout.splitlines() if line.startswith("'"))
        return sorted(_package(line) for line in uris)

    def download(self, packages: Sequence[tuple[str, str]], into: Path) -> None:
        """Fetch exactly these (name, version) pairs; apt checks their signed hashes."""
        into.mkdir(parents=True, exist_ok=True)
        done = run(
            ["apt-get", "download", *(f"{name}={version}" for name, version in packages)],
            env=self._env,
            cwd=into,
            deadline_s=DOWNLOAD_DEADLINE_S,
            check=False,
        )
        self._check(done)

    def _write_configuration(self, mirror: str, keyring: Path) -> None:
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
        (self.home / "etc/apt/sources.list").write_text(
            f"deb [signed-by={keyring}] {mirror} {self.recipe.suite} "
            f"{' '.join(self.recipe.components)}\n"
        )
        (self.home / "apt.conf").write_text(
            f'Dir "{self.home}";\n'
            f'Dir::State::status "{status}";\n'
            f'APT::Architecture "{self.architecture}";\n'
            f'APT::Architectures {{ "{self.architecture}"; }};\n'
            'APT::Install-Recommends "false";\n'
            # apt drops to the user _apt when it is root, who may not enter our cache.
            'APT::Sandbox::User "root";\n'
            'Acquire::Languages "none";\n'
            'Acquire::Retries "3";\n'
            # The suite is archived: its Release file is past its date and stays so.
            'Acquire::Check-Valid-Until "false";\n'
        )

    def _check(self, done: Completed) -> None:
        """Turn apt's complaint into one line that says what to do about it."""
        said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "Err:", "W:"))]
        text = " ".join(said)
        # `apt-get update` exits 0 when an index could not be fetched.
        if done.returncode == 0 and "Failed to fetch" not in text:
            return
        if "404" in text or "does not have a Release file" in text:
            raise EnvironmentFault(
                f"the Debian mirror answers 404 for {self.recipe.suite}: "
                "the suite, or a package of the lock, is not there any more",
                hint=_MIRROR_HINT,
            )
        first = said[0] if said else done.last_lines()
        raise EnvironmentFault(
            f"apt could not fetch {self.recipe.suite} for {self.architecture}: {first}",
            hint="check the network and the mirror (PIBENCH_DEBIAN_MIRROR)",
        )


def _package(line: str) -> Package:
    """Read one line of --print-uris: 'URI' FILENAME SIZE HASH."""
    _, filename, size, *_ = line.split(" ")
    name, version, _ = filename.rsplit("_", 2)
    return Package(name=name, version=unquote(version), filename=filename, size_bytes=int(size))
