"""Inspect a board without running anything, and remove the files kept there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pibench.errors import HostError
from pibench.targets.kit import PROBE_BYTES, needs
from pibench.targets.ssh.board import FOLDER, Board
from pibench.targets.ssh.connection import Login, connected

if TYPE_CHECKING:
    from pibench.images.build import Builder
    from pibench.records.schema import Protocol


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What probe/check.py reports of a board."""

    facts: dict[str, Any]
    problems: list[tuple[str, str]]


async def look(
    login: Login, builder: Builder, protocol: Protocol, remote_dir: str | None
) -> Findings:
    """Return what a board has and lacks for a small network; build nothing, leave nothing there."""
    async with connected(login) as connection:
        asked = needs(
            [protocol],
            remote_dir or FOLDER,
            job_bytes=PROBE_BYTES,
            root_key=builder.key("carried"),
        )
        facts, problems = await Board(connection, str(login.address)).check(asked)
    return Findings(facts=facts, problems=problems)


async def clean(login: Login, remote_dir: str | None) -> tuple[int, int]:
    """Remove pibench's Caffe and interrupted runs; return how many there were of each."""
    async with connected(login) as connection:
        board = Board(connection, str(login.address))
        answer = await board.script("supervise.py", "clean", remote_dir or FOLDER)
    try:
        roots, runs = map(int, answer.out.split()[-2:])
    except ValueError:
        raise HostError(
            f"{login.address}: it could not be cleaned up: {answer.last_words}"
        ) from None
    return roots, runs
