"""Convert an outcome to an observation, and to a record with verdict and provenance."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pibench.devices import KIB
from pibench.engines.registry import engine_of, label_of
from pibench.records.environment import host_environment
from pibench.records.schema import (
    Allowance,
    Environment,
    GuestEnvironment,
    KeptBlobs,
    Limits,
    LimitSet,
    Provenance,
    Record,
)
from pibench.runner.timing import HOST_FIGURES, Throttle, times_of, why_disturbed
from pibench.target_kinds import TargetKind, kind_of
from pibench.verdict import Decision, Observation, decide

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.records.schema import Enforcer, ProvenanceKind
    from pibench.runner.jobs import NetworkFacts
    from pibench.runner.reference import TwinPeak
    from pibench.targets.base import Job, Outcome, Target

OF_NETWORK: Final = {
    "parameter_count", "weights_file_bytes", "weights_sha256", "repairs", "fork_layers", "batch",
    "input_size", "network_format", "inputs",
}  # fmt: skip
"""Facts of a network that a record contains under the same names."""
_COMPUTED: Final = {
    where: {
        "parameter_count": Provenance(kind="computed", reason=count),
        "weights_file_bytes": Provenance(kind="computed", reason=size),
    }
    for where, count, size in (
        (
            "caffe",
            "from the network's shapes",
            "the size of its caffemodel, from the shapes; no file was read",
        ),
        ("file", "the elements of the file's constants", "the size of its files"),
    )
}
"""The provenance of what is known before a run, of networks of Caffe and of model files."""
_SAME_PEAK = 0.995
"""The share of the whole peak that a process had when its network was read, if reading made it."""
_KILLED_PROCESS = r"Killed process \d+ \(({})"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all records of one run share.

    `no_board` is set for one outcome (`of`): why the supposed board is not one.
    """

    device: Device
    target: Target
    no_board: str | None = None

    def of(self, outcome: Outcome) -> Context:
        """Return the context for one outcome: a board may turn out to be emulated."""
        if not self.target_kind.is_board:
            return self
        reason = (outcome.machine or {}).get("no_board")
        if (outcome.result or {}).get("emulator_rss_bytes") is not None:
            reason = "its programs are run by QEMU"
        return replace(self, no_board=reason)

    @property
    def target_kind(self) -> TargetKind:
        """What the target is."""
        return kind_of(self.target.name)

    @property
    def enforced_by(self) -> Enforcer | None:
        """What limits the memory where the whole machine stands for the device."""
        return self.target_kind.enforced_by if self.target_kind.is_whole_machine else None

    @property
    def emulated(self) -> bool:
        """Whether an emulator is in use; valid once the target is prepared."""
        if self.target_kind.is_board:
            return self.no_board is not None
        return self.target.environment()["qemu_version"] is not None

    @property
    def on_another_machine(self) -> bool:
        """Whether the network runs on a core that a program of this host emulates."""
        return self.emulated and self.target_kind.emulation == "other-hosts"

    @property
    def kind(self) -> ProvenanceKind:
        """The provenance of the numbers of its runs."""
        return self.target_kind.provenance_of_run(emulated=self.emulated)


def record_of(
    network: NetworkFacts,
    outcome: Outcome,
    context: Context,
    reference_peak: Callable[[Job], TwinPeak | None] | None = None,
    blobs: KeptBlobs | None = None,
) -> Record:
    """Return the record of one outcome.

    Args:
        network: the network's facts.
        outcome: what the target observed.
        context: what all records of the run share.
        reference_peak: returns the amd64 twin's peak of a job; it is called if the outcome's own
            peak was cut short.
        blobs: where its whole blobs were written.
    """
    job = outcome.job
    machine = outcome.machine or {}
    context = context.of(outcome)
    observation = observation_of(outcome, context)
    killed = observation.killed and not observation.timed_out
    reference = None
    if reference_peak is not None and (killed or observation.allocation_refused):
        reference = reference_peak(job)
    peak_bytes = None if reference is None else reference.rss_bytes
    decision = decide(observation, context.device, reference_peak_bytes=peak_bytes)
    if reference is not None and reference.kept_since and decision.headroom_bytes is not None:
        known = decision.headroom_provenance
        reason = f"{known.reason}; that peak was measured on {reference.kept_since} and kept"
        known = known.model_copy(update={"reason": reason})
        decision = replace(decision, headroom_provenance=known)
    if job.layers:
        decision = _without_memory(decision)
    times, times_provenance = times_of(network, outcome, context)
    memory, memory_provenance = _memory(outcome, decision, context)
    engine = engine_of(job.engine)
    return Record(
        network=network.name,
        network_sha256=network.sha256,
        network_source=network.source,
        **network.model_dump(include=OF_NETWORK),
        device=context.device.id,
        target=context.target.name,
        machine=context.target.machine,
        engine=engine.id,
        # Boards may still have bundles of an earlier version, whose probe has another name for it.
        engine_version=engine.recorded(
            machine.get("engine_version") or machine.get("caffe_version")
        ),
        protocol=job.protocol,
        compute=job.compute,
        setup=job.setup,
        memory_only_tier=(outcome.result or {}).get("memory_only_tier"),
        verdict=decision.verdict,
        evidence=decision.evidence,
        **memory,
        **times,
        headroom_bytes=decision.headroom_bytes,
        repeats=job.repeats if job.protocol == "inference" else job.iterations,
        seed=job.seed if job.protocol == "inference" else None,
        kept_blobs=blobs,
        limits=_limits(outcome, context),
        environment=_environment(outcome, context),
        provenance={
            **_COMPUTED["caffe" if network.network_format == "caffe" else "file"],
            "headroom_bytes": decision.headroom_provenance,
            **memory_provenance,
            **times_provenance,
        },
    )


def _without_memory(decision: Decision) -> Decision:
    """Return the decision on a run whose peak is not the network's: it has the values of layers."""
    why = "the values of every layer were asked for, which takes memory of its own"
    evidence = decision.evidence
    if decision.verdict != "inconclusive":
        evidence = evidence.model_copy(update={"summary": f"{evidence.summary}, but {why}"})
    missing = Provenance.missing(why)
    return Decision(
        verdict="inconclusive",
        evidence=evidence,
        headroom_bytes=None,
        headroom_provenance=missing,
        peak_provenance=missing,
    )


def _memory(
    outcome: Outcome, decision: Decision, context: Context
) -> tuple[dict[str, Any], dict[str, Provenance]]:
    """Return the record's figures of memory, and their provenance, by field."""
    result = outcome.result or {}
    peak = own_rss_bytes(result) if result and not outcome.job.layers else None
    bare = result.get("baseline") or {}
    baseline = own_rss_bytes(bare) if bare.get("exit_status") == 0 else None
    # A process that was stopped early may not even have loaded its libraries.
    network = None
    if peak is not None and baseline is not None and peak >= baseline:
        network = peak - baseline
    why_baseline = "peak RSS of the same program by the time it waits for a network"
    if outcome.memory_limits is not None:
        calibrated = outcome.memory_limits.calibrated
        why_baseline += f", measured {calibrated} with this image and this emulator"
    figures = {
        "baseline_rss_bytes": (
            baseline,
            why_baseline,
            "the program did not run through without a network",
        ),
        "network_rss_bytes": (
            network,
            f"peak less baseline; {decision.peak_provenance.reason}",
            "there is no baseline, or no peak above it",
        ),
        "emulator_rss_bytes": (
            result.get("emulator_rss_bytes"),
            "resident memory of QEMU's own mappings in the process",
            "no emulator was seen in the network's own process",
        ),
    }
    return {
        "peak_rss_bytes": peak,
        **{name: value for name, (value, _, _) in figures.items()},
    }, {
        "peak_rss_bytes": decision.peak_provenance,
        **{
            name: Provenance.missing(none)
            if value is None
            else Provenance(kind=context.kind, reason=why)
            for name, (value, why, none) in figures.items()
        },
    }


def _limits(outcome: Outcome, context: Context) -> Limits:
    device, limits, machine = context.device, outcome.memory_limits, outcome.machine or {}
    requested = LimitSet(
        memory_bytes=(
            limits.memory_asked_bytes if limits else device.ram_bytes - device.reserve_bytes
        ),
        swap_bytes=0,
        cores=device.cores,
        threads=outcome.job.threads,
    )
    if limits is None:
        effective = LimitSet(
            memory_bytes=_bytes_of(machine.get("mem_total_kib") or None),
            swap_bytes=_bytes_of(machine.get("swap_total_kib")),
            cores=machine.get("cores_usable"),
            threads=_threads(outcome),
        )
        return Limits(
            asked=requested,
            in_force=effective,
            enforced_by=context.enforced_by,
            reserve_bytes=device.reserve_bytes,
        )
    own = {name: getattr(limits, name) for name in ("memory_bytes", "swap_bytes", "cores")}
    return Limits(
        asked=requested,
        in_force=LimitSet(**own, threads=_threads(outcome)),
        enforced_by=limits.enforced_by,
        allowance=Allowance(
            emulator_bytes=limits.emulator_bytes,
            emulator_error_bytes=limits.emulator_error_bytes,
            probe_bytes=limits.probe_bytes,
            measured=limits.calibrated,
        ),
        reserve_bytes=device.reserve_bytes,
    )


def _bytes_of(size_kib: int | None) -> int | None:
    return None if size_kib is None else size_kib * KIB


def _threads(outcome: Outcome) -> int | None:
    """Return the BLAS threads: OpenBLAS uses no more than there are CPUs."""
    usable = (outcome.machine or {}).get("cores_usable")
    return min(outcome.job.threads, usable) if usable else None


def _environment(outcome: Outcome, context: Context) -> Environment:
    machine = outcome.machine or {}
    host = context.target.environment()
    # A container's /proc/meminfo is the host's.
    total_kib = None if outcome.memory_limits else machine.get("mem_total_kib") or None
    midr = machine.get("main_id_register")
    return Environment(
        host=outcome.host
        or host_environment(
            qemu_version=host["qemu_version"],
            qemu_accelerator=host.get("qemu_accelerator"),
            qemu_boot=machine.get("boot"),
            engine=host.get("engine"),
        ),
        guest=GuestEnvironment(
            kernel=machine.get("kernel"),
            kernel_arguments=machine.get("kernel_arguments"),
            architecture=machine.get("architecture"),
            memory_total_bytes=_bytes_of(total_kib),
            device_tree_model=machine.get("board"),
            main_id_register=f"{midr:#x}" if midr is not None else None,
            caffe_origin=machine.get("caffe_origin"),
            blas_name=machine.get("blas"),
            blas_core_type=machine.get("blas_core"),
            blas_threads=_threads(outcome),
            python_version=machine.get("python"),
            # A board's engine may be its own: the probe reports which one it used.
            image_lock_digest=machine.get("caffe_lock") or host["image_lock_digest"],
            container_image_id=host.get("container_image_id"),
            **_state(outcome, context),
        ),
    )


def _state(outcome: Outcome, context: Context) -> dict[str, Any]:
    """Return the clock's governor, and the reason for each figure the machine does not report."""
    machine = outcome.machine or {}
    state = (outcome.result or {}).get("inference", {}).get("state", {})
    unavailable = {**machine.get("unavailable", {}), **state.get("unavailable", {})}
    governor = machine.get("governor")
    if context.on_another_machine:
        reason = "emulated by a program of this host, whose own figures are not the core's"
        unavailable |= dict.fromkeys((*HOST_FIGURES, "governor"), reason)
        governor = None
    return {"governor": governor, "unavailable": unavailable}


def _peak_made_by(inference: dict[str, Any]) -> str | None:
    """Return in which part of a run the peak was reached, None if the program did not report it."""
    read, peak = inference.get("read_high_water_kib"), inference.get("high_water_kib")
    if not read or not peak:
        return None
    return "was read" if read >= _SAME_PEAK * peak else "ran"


def observation_of(outcome: Outcome, context: Context) -> Observation:
    """Return the observation of an outcome, in the terms in which verdicts are decided."""
    result, machine = outcome.result, outcome.machine or {}
    context = context.of(outcome)
    common = {
        "engine": outcome.job.engine,
        "target": context.target.name,
        "emulated": context.emulated,
        **_process_limits(outcome, context),
    }
    notes = (f"not measured on a board: {context.no_board}",) if context.no_board else ()
    if result is None:
        names = "|".join(map(re.escape, engine_of(outcome.job.engine).processes))
        own = re.compile(_KILLED_PROCESS.format(names))
        console = tuple(line for line in outcome.console_oom_lines if own.search(line))
        return Observation(
            **common,
            peak_rss_bytes=None,
            exit_status=None,
            # From the kernel's log: it has killed the engine, and nothing was left to report it.
            signal=9 if console else None,
            oom_kills=console,
            guest_died=True,
            notes=(outcome.died or "the target was lost", *notes, *outcome.notes),
        )
    return Observation(
        **common,
        peak_rss_bytes=own_rss_bytes(result),
        emulator_rss_bytes=result["emulator_rss_bytes"],
        # The convention of Python's subprocess: a signal is a negative status.
        exit_status=-result["signal"] if result["signal"] else result["exit_status"],
        signal=result["signal"],
        oom_kills=_own_lines(result, context),
        oom_counter=_own_counter(outcome, context),
        timed_out=result["timed_out"],
        fatal_message=result["fatal_message"],
        address_space_bytes=machine.get("address_space_bytes"),
        strict_overcommit=machine.get("overcommit") == "2",
        emulator_died=context.on_another_machine and _is_emulators_death(result),
        swap_used_bytes=result["swap_used_bytes"],
        elapsed_seconds=result["elapsed_ms"] / 1000.0,
        notes=(*notes, *_notes(outcome, result), *outcome.notes),
    )


def own_rss_bytes(result: dict[str, Any]) -> int | None:
    """Return the peak RSS of a process in bytes, without an emulator's share of it.

    The two peak together: an emulator's own memory grows with the code and the
    memory that it has seen, and never shrinks. None for an emulator that ended
    before it had the memory that it always takes.
    """
    own = int(result["peak_rss_bytes"]) - (result["emulator_rss_bytes"] or 0)
    return own if own >= 0 else None


def _is_emulators_death(result: dict[str, Any]) -> bool:
    """Return whether a signal ended an emulator before the program that it runs wrote a line.

    It reports the signals of that program itself ("qemu: uncaught target signal").
    """
    ended = result["signal"] not in (None, signal.SIGKILL)
    return ended and not result["log_tail"]


def _process_limits(outcome: Outcome, context: Context) -> dict[str, Any]:
    """Return the limits of the process, as fields of an observation."""
    machine, limits = outcome.machine or {}, outcome.memory_limits
    # A slice or a pod around the process may have less than the machine.
    group = {"group_limit_bytes": machine.get("memory_limit_bytes")}
    if limits is None:
        total = _bytes_of(machine.get("mem_total_kib") or None)
        return group | {"memory_limit_bytes": total, "enforced_by": context.enforced_by}
    return group | {
        "memory_limit_bytes": limits.memory_bytes,
        "allowance_bytes": limits.allowance_bytes,
        "enforced_by": limits.enforced_by,
        "reached_own_limit": (outcome.result or {}).get("reached_own_limit"),
        "watcher_saw_bytes": limits.watcher_saw_bytes,
        "container_exit_code": limits.container_exit_code,
        "container_oom_killed": limits.container_oom_killed,
    }


def _own_counter(outcome: Outcome, context: Context) -> int | None:
    """Return the count of OOM kills, where it can only be about this process.

    A control group of its own counts nothing else. A machine counts the kills of all programs:
    its count is evidence only where the machine is the device, and for a process that was killed.
    """
    result = outcome.result or {}
    name = None
    if outcome.memory_limits is not None:
        name = "cgroup_oom_kills"
    elif context.target_kind.is_whole_machine and result["signal"] == signal.SIGKILL:
        name = "oom_kills"
    return result[name] if name else None


def _own_lines(result: dict[str, Any], context: Context) -> tuple[str, ...]:
    """Return the kernel's lines about the network's process.

    In a container the kernel's process numbers differ from the probe's, so a line with the
    same number may be about any program: for a process that ended by itself it is.
    """
    if not context.target_kind.is_whole_machine and result["signal"] != signal.SIGKILL:
        return ()
    own = re.compile(rf"(process |pid=){result['pid']}\b")
    return tuple(line for line in result["oom_lines"] or () if own.search(line))


def _notes(outcome: Outcome, result: dict[str, Any]) -> tuple[str, ...]:
    machine = outcome.machine or {}
    notes = []
    if result["complaint"]:
        notes.append(f"{label_of(outcome.job.engine)} reported: {result['complaint']}")
    if result["oom_lines"] is None:
        notes.append("the kernel's log may not be read here")
    if result["exit_status"] not in (0, None) and result["log_tail"]:
        notes.append(f"last words: {result['log_tail'][-1]}")
    if machine.get("why_no_loops") and outcome.job.compute == "memory-only":
        notes.append(f"Caffe's own loops had no stand-ins: {machine['why_no_loops']}")
    if result.get("forked"):
        notes.append("its process was forked from the program, which had been loaded before")
    made_by = _peak_made_by(result.get("inference") or {})
    if made_by is not None:
        notes.append(f"the peak was reached while the network {made_by}")
    readings = result["readings"]
    why = why_disturbed(readings, 0, len(readings) - 1, Throttle.of(machine.get("throttle")))
    if why is not None:
        notes.append(f"while it ran, {why}")
    if machine.get("huge_pages"):
        notes.append(
            "the kernel gives transparent huge pages to all programs: peaks may be some MiB high"
        )
    return tuple(notes)
