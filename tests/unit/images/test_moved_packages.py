"""Packages that a mirror no longer has: real apt, a real web server, a signed mirror of two."""

from __future__ import annotations

import functools
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pibench.errors import HostError, InvalidInputError
from pibench.images.recipe import LockedPackage, Recipe, load_lock, load_recipe
from pibench.images.rootfs import download, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

MIRROR = Path(__file__).parent / "mirror"
"""Has the package `there`, and names `gone`, whose file it lacks; signed by signing-key.gpg."""

THERE = LockedPackage(
    name="there",
    version="1.0-1",
    sha256="621d6740a8b257b3f37a70727dd82679dbf3a943136f79b791a037f40d00aa99",
    path="pool/main/t/there_1.0-1_arm64.deb",
)
GONE = LockedPackage(
    name="gone", version="1:2.0+b1-1", sha256="0" * 64, path="pool/main/g/gone_2.0+b1-1_arm64.deb"
)
NEWER = replace(THERE, version="0.9-1", path="pool/main/t/there_0.9-1_arm64.deb")
UNKNOWN = replace(GONE, name="unknown", path="pool/main/u/unknown_2.0+b1-1_arm64.deb")


released = threading.Event()
"""Until it is set, the mirror does not answer a request for the package `gone`."""


class Quiet(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if "/gone_" in self.path:
            released.wait(timeout=30)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    released.set()
    handler = functools.partial(Quiet, directory=str(MIRROR))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("PIBENCH_DEBIAN_MIRROR", address)
        yield address
        server.shutdown()
        thread.join()


@pytest.fixture
def recipe() -> Recipe:
    return replace(load_recipe(), keyring=str(MIRROR / "signing-key.gpg"))


def test_a_mirror_that_has_all_gives_no_complaint(
    mirror: str, recipe: Recipe, tmp_path: Path
) -> None:
    assert mirror
    (deb,) = download(recipe, "arm64", [THERE], "2025-08-09", tmp_path)
    assert deb.read_text() == "stands for a package\n"


def test_a_package_arrives_while_the_next_is_fetched(
    mirror: str, recipe: Recipe, tmp_path: Path
) -> None:
    assert mirror
    released.clear()
    arriving = download(recipe, "arm64", [THERE, GONE], "2025-08-09", tmp_path)
    assert next(arriving).read_text() == "stands for a package\n"
    released.set()
    with pytest.raises(HostError, match="answers 404 for bullseye arm64: gone"):
        next(arriving)


def test_a_package_that_differs_from_the_lock_is_named(
    mirror: str, recipe: Recipe, tmp_path: Path
) -> None:
    other = replace(THERE, sha256="0" * 64)
    with pytest.raises(
        HostError, match=rf"there 1\.0-1 from the mirror {mirror} differs from the one in"
    ):
        list(download(recipe, "arm64", [other], "2025-08-09", tmp_path))


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ([GONE], "gone 1:2.0+b1-1 (pool/main/g/gone_2.0+b1-1_arm64.deb)"),
        ([NEWER], "there 0.9-1 (pool/main/t/there_0.9-1_arm64.deb)"),
        ([UNKNOWN], "unknown 1:2.0+b1-1 (pool/main/u/unknown_2.0+b1-1_arm64.deb)"),
    ],
    ids=["its file", "its version", "all of it"],
)
def test_a_package_that_is_gone_is_named_with_what_finds_it(
    missing: list[LockedPackage], named: str, mirror: str, recipe: Recipe, tmp_path: Path
) -> None:
    others = [THERE] if missing != [NEWER] else []
    with pytest.raises(HostError) as fault:
        list(download(recipe, "arm64", [*others, *missing], "2025-08-09", tmp_path))
    assert fault.value.line() == (
        f"the mirror {mirror} answers 404 for bullseye arm64: {named}; "
        "name a mirror that still has bullseye: PIBENCH_DEBIAN_MIRROR=http://HOST/debian "
        "(Debian's archive keeps old releases, its snapshot service every past state, such as "
        "that of 2025-08-09), or copy the images from a machine that has them: pibench image save "
        "FILE there, pibench image load FILE here"
    )


def test_many_packages_that_are_gone_are_counted(
    mirror: str, recipe: Recipe, tmp_path: Path
) -> None:
    assert mirror
    missing = [replace(UNKNOWN, name=f"unknown{number}") for number in range(5)]
    with pytest.raises(HostError, match=r"unknown0 .*unknown2 .* and 2 more; name a mirror"):
        list(download(recipe, "arm64", missing, "2025-08-09", tmp_path))


def test_a_suite_that_is_gone_gets_the_same_advice(
    mirror: str, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(HostError) as fault:
        resolve(replace(recipe, suite="buzz"), "arm64", tmp_path)
    assert f"the mirror {mirror} answers 404 for buzz arm64: the suite" in fault.value.message
    assert "pibench image load FILE" in (fault.value.hint or "")


def test_the_lock_states_where_a_mirror_has_each_package() -> None:
    for name in ("docker/rootfs.lock.json", "docker/blas.lock.json"):
        lock = load_lock(name)
        assert lock.suite_date == "2025-08-09"
        for architecture, packages in lock.packages.items():
            for package in packages:
                # Without the epoch, as a mirror's files are named.
                version = package.version.partition(":")[2] or package.version
                folder, _, file = package.path.rpartition("/")
                assert file in {
                    f"{package.name}_{version}_{architecture}.deb",
                    f"{package.name}_{version}_all.deb",
                }
                assert folder.startswith("pool/main/")


def test_a_password_of_the_mirror_is_not_shown(
    mirror: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIBENCH_DEBIAN_MIRROR", mirror.replace("://", "://me:secret@"))
    with pytest.raises(HostError, match=f"the mirror {mirror} answers 404") as fault:
        list(download(recipe, "arm64", [GONE], "2025-08-09", tmp_path))
    assert "secret" not in fault.value.line()


@pytest.mark.parametrize("address", ["nonsense", "http://", "http://a b/debian", 'http://a"b'])
def test_an_address_that_apt_cannot_read_is_refused(
    address: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIBENCH_DEBIAN_MIRROR", address)
    with pytest.raises(InvalidInputError, match="PIBENCH_DEBIAN_MIRROR is not the address"):
        list(download(recipe, "arm64", [THERE], "2025-08-09", tmp_path))
