"""From what a target saw to a record: the verdict, each number's provenance, the environment."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pibench.crosscheck.verdict import KIND_BY_TARGET, Decision, Observation, decide
from pibench.records.environment import host_environment
from pibench.records.schema import (
    Environment,
    GuestEnvironment,
    LayerTime,
    Limits,
    LimitSet,
    OutputBlob,
    Provenance,
    Record,
)

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.networks.network import Network
    from pibench.targets.base import Outcome, Target

KIB = 1024
_CAFFE_PROCESS = re.compile(r"Killed process \d+ \((caffe|python3)")
EMULATED_TIME = "emulated: says nothing about the time on the board"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all records of one sweep share."""

    device: Device
    target: Target


def record_of(
    network: Network, outcome: Outcome, context: Context, reference_peak_bytes: int | None
) -> Record:
    """The record of one outcome.

    `reference_peak_bytes` is the amd64 twin's peak RSS of the same network,
    where the outcome's own was cut short and the twin was asked.
    """
    work, result = outcome.work, outcome.result or {}
    decision = decide(
        observation_of(outcome, context),
        context.device,
        reference_peak_bytes=reference_peak_bytes,
    )
    times = _times(network, outcome, context)
    memory = _memory(result, decision, context)
    return Record(
        network=network.name,
        network_sha256=network.sha256,
        network_source=network.file_name,
        parameter_count=network.parameter_count,
        weights_file_bytes=network.weights_file_bytes,
        weights_sha256=_weights_sha256(work.weights),
        repairs=tuple(network.repairs),
        device=context.device.id,
        target=context.target.name,
        machine=context.target.machine,
        protocol=work.protocol,
        compute=work.compute,
        batch=network.batch,
        verdict=decision.verdict,
        evidence=decision.evidence,
        peak_rss_bytes=memory.peak_bytes,
        baseline_rss_bytes=memory.baseline_bytes,
        network_rss_bytes=memory.network_bytes,
        headroom_bytes=decision.headroom_bytes,
        latency_ms=times.latency_ms,
        layers=times.layers,
        repeats=work.repeats if work.protocol == "inference" else work.iterations,
        outputs=times.outputs,
        limits=_limits(outcome, context.device),
        environment=_environment(outcome, context),
        provenance={
            "parameter_count": Provenance(kind="computed", reason="from the network's shapes"),
            "weights_file_bytes": Provenance(
                kind="computed",
                reason="the size of its caffemodel, from the shapes; no file was read",
            ),
            "headroom_bytes": decision.headroom_provenance,
            **memory.provenance,
            **times.provenance,
        },
    )


def observation_of(outcome: Outcome, context: Context) -> Observation:
    """What was seen, in the terms in which verdicts are decided."""
    result, machine = outcome.result, outcome.machine or {}
    limit_kib = machine.get("mem_total_kib")
    limit_bytes = limit_kib * KIB if limit_kib else None
    if result is None:
        console = tuple(line for line in outcome.console_oom_lines if _CAFFE_PROCESS.search(line))
        return Observation(
            target=context.target.name,
            peak_rss_bytes=None,
            exit_status=None,
            # The kernel's own words: it has killed Caffe, though nobody is left to report it.
            signal=9 if console else None,
            oom_kills=console,
            guest_died=True,
            memory_limit_bytes=limit_bytes,
            notes=(outcome.died or "the target was lost",),
        )
    return Observation(
        target=context.target.name,
        peak_rss_bytes=result["peak_rss_bytes"],
        # The convention of Python's subprocess: a signal is a negative status.
        exit_status=-result["signal"] if result["signal"] else result["exit_status"],
        signal=result["signal"],
        oom_kills=_own_lines(result["oom_lines"] or [], result["pid"]),
        oom_counter=_own_counter(result),
        timed_out=result["timed_out"],
        fatal_message=result["fatal_message"],
        swap_used_bytes=result["swap_used_bytes"],
        memory_limit_bytes=limit_bytes,
        elapsed_seconds=result["elapsed_ms"] / 1000.0,
        notes=_notes(result),
    )


def _own_counter(result: dict[str, Any]) -> int | None:
    """The machine's count of OOM kills, where it can only mean this process or is all there is.

    It counts other programs too: next to a log that may be read it says nothing
    about a process that ended by itself.
    """
    alone = result["signal"] == signal.SIGKILL or result["oom_lines"] is None
    return result["oom_kills"] if alone else None


def _own_lines(lines: list[str], pid: int) -> tuple[str, ...]:
    """The kernel's lines about one process."""
    own = re.compile(rf"(process |pid=){pid}\b")
    return tuple(line for line in lines if own.search(line))


def _notes(result: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if result["complaint"]:
        notes.append(f"Caffe said: {result['complaint']}")
    if result["oom_lines"] is None:
        notes.append("the kernel's log may not be read here; its OOM counter was")
    if result["exit_status"] not in (0, None) and result["log_tail"]:
        notes.append(f"last words: {result['log_tail'][-1]}")
    if result.get("throttled") not in (None, "0", "0x0"):
        notes.append(f"the board was throttled: {result['throttled']}")
    return tuple(notes)


@dataclass(frozen=True, kw_only=True)
class _Memory:
    peak_bytes: int | None
    baseline_bytes: int | None
    network_bytes: int | None
    provenance: dict[str, Provenance]


def _memory(result: dict[str, Any], decision: Decision, context: Context) -> _Memory:
    kind = KIND_BY_TARGET[context.target.name]
    peak = result.get("peak_rss_bytes")
    baseline_run = result.get("baseline") or {}
    baseline = baseline_run.get("peak_rss_bytes") if baseline_run.get("exit_status") == 0 else None
    # A process that was stopped early may not even have loaded its libraries.
    network = None
    if peak is not None and baseline is not None and peak >= baseline:
        network = peak - baseline
    no_baseline = Provenance(
        kind="unavailable", reason="the program did not run through without a network"
    )
    lost = Provenance(kind="unavailable", reason="there is no baseline, or no peak above it")
    return _Memory(
        peak_bytes=peak,
        baseline_bytes=baseline,
        network_bytes=network,
        provenance={
            "peak_rss_bytes": decision.peak_provenance,
            "baseline_rss_bytes": Provenance(
                kind=kind, reason="ru_maxrss of the same program with no network"
            )
            if baseline is not None
            else no_baseline,
            "network_rss_bytes": Provenance(
                kind=kind, reason=f"peak less baseline; {decision.peak_provenance.reason}"
            )
            if network is not None
            else lost,
        },
    )


@dataclass(frozen=True, kw_only=True)
class _Times:
    latency_ms: float | None = None
    layers: tuple[LayerTime, ...] = ()
    outputs: tuple[OutputBlob, ...] = ()
    provenance: dict[str, Provenance]


def _times(network: Network, outcome: Outcome, context: Context) -> _Times:
    """Latency, layer times and outputs, where the run can tell them."""
    missing = _why_no_times(outcome)
    if missing is not None:
        none = Provenance(kind="unavailable", reason=missing)
        return _Times(provenance={"latency_ms": none, "layers": none, "outputs": none})
    result = outcome.result or {}
    kind = KIND_BY_TARGET[context.target.name]
    timed = Provenance(kind=kind, reason=EMULATED_TIME if kind == "emulated" else "")
    if "inference" in result:
        drawn = network.weights is None
        return _inference_times(
            result["inference"], kind, timed, drawn_seed=outcome.work.seed if drawn else None
        )
    totals = result["caffe_time"]["totals"]
    layers = _caffe_time_layers(network, result["caffe_time"]["layers"])
    unread = Provenance(kind="unavailable", reason="caffe time's log held no such line")
    return _Times(
        latency_ms=totals.get("forward"),
        layers=layers,
        provenance={
            "latency_ms": timed if "forward" in totals else unread,
            "layers": timed if layers else unread,
            "outputs": Provenance(kind="unavailable", reason="caffe time gives no outputs"),
        },
    )


def _why_no_times(outcome: Outcome) -> str | None:
    if outcome.work.compute == "memory-only":
        return "memory-only compute does no arithmetic, so its times and values mean nothing"
    result = outcome.result or {}
    if result.get("exit_status") != 0 or not ({"inference", "caffe_time"} & set(result)):
        return "the run did not come to its end"
    return None


def _inference_times(
    inference: dict[str, Any], kind: Any, timed: Provenance, *, drawn_seed: int | None
) -> _Times:
    """Times and outputs; `drawn_seed` is the seed of weights that are nobody's."""
    of_weights = (
        "with the weights given"
        if drawn_seed is None
        else f"with seeded random weights (seed {drawn_seed}): the values classify nothing"
    )
    outputs = tuple(
        OutputBlob(
            name=blob["name"],
            shape=tuple(blob["shape"]),
            sha256=blob["sha256"],
            minimum=blob["minimum"],
            maximum=blob["maximum"],
            l2_norm=blob["l2_norm"],
            non_finite_count=blob["non_finite_count"],
        )
        for blob in inference["outputs"]
    )
    return _Times(
        latency_ms=inference["latency_ms"],
        layers=tuple(LayerTime(**layer) for layer in inference["layers"]),
        outputs=outputs,
        provenance={
            "latency_ms": timed,
            "layers": timed,
            "outputs": Provenance(kind=kind, reason=of_weights)
            if outputs
            else Provenance(kind="unavailable", reason="the network has no output blob"),
        },
    )


def _caffe_time_layers(network: Network, lines: list[list[Any]]) -> tuple[LayerTime, ...]:
    """The lines of `caffe time`, forward and backward of a layer brought together."""
    types = {layer.name: layer.type for layer in network.net.layer}
    forward: dict[str, float] = {}
    backward: dict[str, float] = {}
    for name, direction, milliseconds in lines:
        (forward if direction == "forward" else backward)[name] = milliseconds
    return tuple(
        # What is not in the network Caffe has put there itself, to copy a blob.
        LayerTime(
            name=name,
            type=types.get(name, "Split"),
            forward_ms=milliseconds,
            backward_ms=backward.get(name),
        )
        for name, milliseconds in forward.items()
    )


def _limits(outcome: Outcome, device: Device) -> Limits:
    machine = outcome.machine or {}
    total_kib, swap_kib = machine.get("mem_total_kib"), machine.get("swap_total_kib")
    return Limits(
        asked=LimitSet(
            memory_bytes=device.ram_bytes,
            swap_bytes=0,
            cores=device.cores,
            threads=outcome.work.threads,
        ),
        in_force=LimitSet(
            memory_bytes=total_kib * KIB if total_kib else None,
            swap_bytes=swap_kib * KIB if swap_kib is not None else None,
            cores=machine.get("cores_usable"),
            threads=_threads(outcome),
        ),
    )


def _threads(outcome: Outcome) -> int | None:
    """OpenBLAS uses no more threads than there are CPUs."""
    usable = (outcome.machine or {}).get("cores_usable")
    return min(outcome.work.threads, usable) if usable else None


def _environment(outcome: Outcome, context: Context) -> Environment:
    machine = outcome.machine or {}
    host = context.target.environment()
    total_kib = machine.get("mem_total_kib")
    return Environment(
        host=host_environment(qemu_version=host["qemu_version"]),
        guest=GuestEnvironment(
            kernel=machine.get("kernel"),
            architecture=machine.get("architecture"),
            memory_total_bytes=total_kib * KIB if total_kib else None,
            device_tree_model=machine.get("board"),
            caffe_version=machine.get("caffe_version"),
            blas_name=machine.get("blas"),
            blas_core_type=machine.get("blas_core"),
            blas_threads=_threads(outcome),
            python_version=machine.get("python"),
            image_lock_digest=host["image_lock_digest"],
        ),
    )


def _weights_sha256(weights: Path | None) -> str | None:
    from pibench.images.recipe import file_sha256  # noqa: PLC0415  (start-up time)

    return file_sha256(weights) if weights is not None else None
