"""Validate the lines of a board's file of results: see pibench/probe/results.py."""

from __future__ import annotations

from pydantic import NonNegativeFloat

from pibench.targets.probe_events import MachineInfo, Reported, RunResult, Text


class MachineEntry(Reported):
    """A probe started."""

    machine: MachineInfo
    unix_s: float


class StartEntry(Reported):
    """A network was started."""

    id: Text
    unix_s: float
    load_1_minute: NonNegativeFloat


class ResultEntry(Reported):
    """A network ended."""

    id: Text
    result: RunResult


class DiedEntry(Reported):
    """A network whose end was not observed."""

    id: Text
    why: Text


class EndEntry(Reported):
    """The end of a complete sequence of entries."""

    finished: list[Text]
