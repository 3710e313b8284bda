"""Where and how to run, as options say it, and the sweep that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from pibench import devices
from pibench.cli.progress import Progress
from pibench.cli.streams import say
from pibench.images.build import Builder
from pibench.sweep.reference import Reference
from pibench.sweep.run import Sweep
from pibench.sweep.work import Request
from pibench.targets.by_name import make_target

if TYPE_CHECKING:
    from pibench.networks.network import Network
    from pibench.records.schema import Compute, Machine, Protocol, Record
    from pibench.records.store import RecordStore

CUT_SHORT_ON = ("vm", "container", "sysroot")
"""Targets on which a network is killed at its limit: the twin then tells its peak."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that say where and how to run, as the command line gives them."""

    device: str = "rpi3b"
    target: str = "vm"
    machine: str | None = None
    protocol: str = "caffe-time"
    compute: str | None = None
    repeats: int = 5
    threads: int | None = None
    timeout_s: float | None = None
    jobs: int | None = None
    quiet: bool = False

    def request(self) -> Request:
        """The same as a request, defaults filled in."""
        # Memory-only serves where only memory is asked for and computing takes long.
        memory_only = self.target != "native" and self.protocol == "caffe-time"
        compute = self.compute or ("memory-only" if memory_only else "real")
        return Request(
            device=devices.load(self.device),
            protocol=cast("Protocol", self.protocol),
            compute=cast("Compute", compute),
            threads=self.threads,
            repeats=self.repeats,
            timeout_s=self.timeout_s,
        )


def sweep(
    loaded: Sequence[Network],
    options: Options,
    store: RecordStore | None = None,
    made: list[Record] | None = None,
) -> list[Record]:
    """Run all networks; each record is in `store` and in `made` as soon as it is there.

    Raises EnvironmentFault where the target cannot run.
    """
    options = chosen(options)
    request = options.request()
    made = made if made is not None else []
    with Progress(len(loaded), quiet=options.quiet) as progress:
        builder = Builder(progress.step)
        target = make_target(
            options.target,
            request.device,
            builder,
            machine=cast("Machine | None", options.machine),
            at_once=options.jobs,
        )

        def finished(record: Record) -> None:
            made.append(record)
            progress.finished(record)

        job = Sweep(
            target=target,
            request=request,
            store=store,
            reference=Reference(builder) if options.target in CUT_SHORT_ON else None,
            finished=finished,
            watched=progress.watched,
        )
        return job.run(loaded)


def chosen(options: Options) -> Options:
    """The options with a target that works here for `auto`, and why it was taken."""
    if options.target != "auto":
        return options
    from pibench.diagnosis.choice import choose

    choice = choose(devices.load(options.device), options.compute)
    say(f"target {choice.target}: {choice.reason}")
    return replace(options, target=choice.target)
