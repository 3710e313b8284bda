"""A user id without home and name, and a cache that several users share, with real user ids."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounts import small_disk
from tests.other_user import OTHER, USER, run_as

pytestmark = pytest.mark.system


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all may write to."""
    folder = tmp_path_factory.mktemp("place")
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def models(place: Path) -> tuple[str, str]:
    """Two small networks: the zoo's have weights of many MB, which each command would pack."""
    for name, outputs in (("one", 16), ("two", 17)):
        (place / f"{name}.prototxt").write_text(
            'layer { name: "data" type: "Input" top: "data" '
            "input_param { shape { dim: [1, 3, 32, 32] } } } "
            'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" '
            f"inner_product_param {{ num_output: {outputs} }} }}"
        )
    return "one.prototxt", "two.prototxt"


def temporary(folder: Path) -> dict[str, str]:
    """Where temporary files go, so that nothing is left of a cache among them."""
    return {"TMPDIR": str(folder)}


# One process for all commands: its start takes longer than they do.
COMMANDS = """
import sys
from pibench.cli import main
for words, code in (
    (["image", "list"], 0),
    (["plan", "NIN"], 0),
    (["board", "check", "ssh://127.0.0.1:1"], 3),
    (["board", "check", "ssh://pi@127.0.0.1:1"], 3),
):
    sys.argv = ["pibench", *words]
    try:
        main()
    except SystemExit as ended:
        assert (ended.code or 0) == code, (words, ended.code)
    else:
        raise AssertionError(words)
"""


@pytest.mark.parametrize("home", [None, "/nonexistent", "/", "~"])
def test_no_command_needs_a_home_or_a_name(home: str | None, place: Path) -> None:
    env = temporary(place) | ({"HOME": home} if home else {})
    done = run_as(USER, env=env, cwd=place, program=("-c", COMMANDS))
    assert done.returncode == 0, done.stderr
    assert "internal" not in done.stderr
    assert not (place / "~").exists()


def test_the_cache_of_a_user_without_a_home_is_a_temporary_folder(
    models: tuple[str, str], place: Path
) -> None:
    words = ["bundle", models[0], "--protocol", "inference", "-o", "k.tar.gz"]
    done = run_as(USER, *words, env=temporary(place), cwd=place)
    assert done.returncode == 0, done.stderr
    cache = place / f"pibench-cache-{USER}"
    assert list((cache / "weights").glob("*.caffemodel"))
    assert (cache.stat().st_uid, cache.stat().st_mode & 0o777) == (USER, 0o700)


def test_a_cache_that_another_made_under_that_name_is_refused(place: Path) -> None:
    cache = place / f"pibench-cache-{USER}"
    cache.mkdir()
    os.chown(cache, OTHER, OTHER)
    done = run_as(USER, "image", "list", env=temporary(place), cwd=place)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line == (
        f"pibench: {cache}: other users may write there; "
        "name a folder of your own: PIBENCH_CACHE_DIR=DIR"
    )


def test_a_report_as_a_picture_needs_no_home(place: Path) -> None:
    records = place / "records.jsonl"
    source = Path(__file__).parents[1] / "unit/records/record-1.4.json"
    records.write_text(source.read_text().replace("\n", "") + "\n")
    words = ["report", "records.jsonl", "-o", "report.png"]
    done = run_as(USER, *words, env=temporary(place), cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    assert (place / "report.png").stat().st_size


@pytest.fixture(params=["sticky", "group"])
def shared(request: pytest.FixtureRequest, place: Path) -> tuple[Path, tuple[int, ...]]:
    """A cache for several users, and the groups that they are in."""
    cache = place / "cache"
    cache.mkdir()
    if request.param == "sticky":
        cache.chmod(0o1777)
        return cache, ()
    os.chown(cache, 0, 60000)
    cache.chmod(0o2775)
    return cache, (60000,)


def test_a_shared_cache_serves_the_second_user(
    shared: tuple[Path, tuple[int, ...]], models: tuple[str, str], place: Path
) -> None:
    """Each leaves something in the same folders, under the umask of a careful user."""
    cache, groups = shared
    env = temporary(place) | {"PIBENCH_CACHE_DIR": str(cache)}
    one, two = models
    for user, network in ((USER, one), (OTHER, two), (USER, two)):
        words = ["bundle", network, "--protocol", "inference"]
        done = run_as(user, *words, "-o", f"{user}.tar.gz", env=env, cwd=place, groups=groups)
        assert done.returncode == 0, done.stderr
        assert "not kept" not in done.stderr
    owners = {path.stat().st_uid for path in cache.rglob("*") if path.is_file()}
    assert owners == {USER, OTHER}
    assert len(list((cache / "weights").glob("*.caffemodel"))) == 2


@pytest.fixture
def full(place: Path) -> Iterator[Path]:
    """A disk with room for a few pages."""
    folder = place / "full"
    folder.mkdir()
    with small_disk(folder, 64 << 10):
        yield folder


def test_a_full_cache_costs_nothing_but_time(
    full: Path, models: tuple[str, str], place: Path
) -> None:
    words = ["bundle", models[0], "--protocol", "inference", "-o", "k.tar.gz"]
    env = temporary(place) | {"PIBENCH_CACHE_DIR": str(full / "cache")}
    done = run_as(USER, *words, env=env, cwd=place)
    assert done.returncode == 0, done.stderr
    assert not list(place.glob("pibench-*"))


def test_a_full_temporary_folder_is_named(full: Path, models: tuple[str, str], place: Path) -> None:
    words = ["bundle", models[0], "--protocol", "inference", "-o", "k.tar.gz"]
    env = temporary(full) | {"PIBENCH_CACHE_DIR": str(place / "cache")}
    done = run_as(USER, *words, env=env, cwd=place)
    assert done.returncode == 3
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"pibench: {full}/pibench-")
    assert "No space left on device; make room there, or name another folder: TMPDIR=DIR" in line


def test_an_engine_that_this_user_may_not_talk_to(place: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "s"))
        server.listen()
        (place / "s").chmod(0o660)
        env = temporary(place) | {"DOCKER_HOST": f"unix://{place}/s"}
        done = run_as(USER, "run", "NIN", "--target", "container", env=env, cwd=place)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 3
    assert f"this user may not talk to the Engine on unix://{place}/s: Permission denied" in line
    assert "usermod -aG docker" in line
    assert "start" not in line
