"""Convert an outcome to a record: the verdict, each number's provenance, the environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from pibench.runner.observation import KIB, Context, observation_of, own_rss_bytes
from pibench.runner.timing import HOST_FIGURES, times_of
from pibench.verdict.decision import Decision, decide

if TYPE_CHECKING:
    from pibench.runner.facts import NetworkFacts
    from pibench.targets.base import Outcome


def record_of(
    network: NetworkFacts,
    outcome: Outcome,
    context: Context,
    reference_peak_bytes: int | None,
    kept: KeptBlobs | None = None,
) -> Record:
    """Return the record of one outcome.

    Args:
        network: the network's facts.
        outcome: what the target observed.
        context: what all records of the sweep share.
        reference_peak_bytes: the amd64 twin's peak RSS of the same network, where
            the outcome's own was cut short and the twin was run.
        kept: where its whole blobs were written.
    """
    work = outcome.work
    context = context.of(outcome)
    decision = decide(
        observation_of(outcome, context),
        context.device,
        reference_peak_bytes=reference_peak_bytes,
    )
    times = times_of(network, outcome, context)
    memory = _memory(outcome, decision, context)
    return Record(
        network=network.name,
        network_sha256=network.sha256,
        network_source=network.source,
        parameter_count=network.parameter_count,
        weights_file_bytes=network.weights_file_bytes,
        weights_sha256=network.weights_sha256,
        repairs=network.repairs,
        device=context.device.id,
        target=context.target.name,
        machine=context.target.machine,
        protocol=work.protocol,
        compute=work.compute,
        batch=network.batch,
        input_size=network.input_size,
        verdict=decision.verdict,
        evidence=decision.evidence,
        peak_rss_bytes=memory.peak_bytes,
        baseline_rss_bytes=memory.baseline_bytes,
        emulator_rss_bytes=memory.emulator_bytes,
        network_rss_bytes=memory.network_bytes,
        headroom_bytes=decision.headroom_bytes,
        latency_ms=times.latency_ms,
        layers=times.layers,
        repeats=work.repeats if work.protocol == "inference" else work.iterations,
        samples=times.samples,
        latency_interval=times.interval,
        seed=work.seed if work.protocol == "inference" else None,
        input_sha256=times.input_sha256,
        outputs=times.outputs,
        signatures=times.signatures,
        kept_blobs=kept,
        limits=_limits(outcome, context),
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


@dataclass(frozen=True, kw_only=True)
class _Memory:
    peak_bytes: int | None
    baseline_bytes: int | None
    emulator_bytes: int | None
    network_bytes: int | None
    provenance: dict[str, Provenance]


def _memory(outcome: Outcome, decision: Decision, context: Context) -> _Memory:
    result = outcome.result or {}
    kind = context.kind
    peak = own_rss_bytes(result) if result else None
    emulator = result.get("emulator_rss_bytes")
    bare = result.get("baseline") or {}
    baseline = own_rss_bytes(bare) if bare.get("exit_status") == 0 else None
    # A process that was stopped early may not even have loaded its libraries.
    network = None
    if peak is not None and baseline is not None and peak >= baseline:
        network = peak - baseline
    no_baseline = Provenance(
        kind="unavailable", reason="the program did not run through without a network"
    )
    no_emulator = Provenance(
        kind="unavailable", reason="no emulator was seen in the network's own process"
    )
    lost = Provenance(kind="unavailable", reason="there is no baseline, or no peak above it")
    return _Memory(
        peak_bytes=peak,
        baseline_bytes=baseline,
        network_bytes=network,
        emulator_bytes=emulator,
        provenance={
            "peak_rss_bytes": decision.peak_provenance,
            "baseline_rss_bytes": Provenance(kind=kind, reason=_why_baseline(outcome))
            if baseline is not None
            else no_baseline,
            "network_rss_bytes": Provenance(
                kind=kind, reason=f"peak less baseline; {decision.peak_provenance.reason}"
            )
            if network is not None
            else lost,
            "emulator_rss_bytes": Provenance(
                kind=kind, reason="resident memory of QEMU's own mappings in the process"
            )
            if emulator is not None
            else no_emulator,
        },
    )


def _why_baseline(outcome: Outcome) -> str:
    reason = "peak RSS of the same program by the time it waits for a network"
    if outcome.memory_limits is None:
        return reason
    return (
        f"{reason}, measured {outcome.memory_limits.calibrated} with this image and this emulator"
    )


def _limits(outcome: Outcome, context: Context) -> Limits:
    held, device = outcome.memory_limits, context.device
    if held is not None:
        return Limits(
            asked=LimitSet(
                memory_bytes=held.memory_asked_bytes,
                swap_bytes=0,
                cores=device.cores,
                threads=outcome.work.threads,
            ),
            in_force=LimitSet(
                memory_bytes=held.memory_bytes,
                swap_bytes=held.swap_bytes,
                cores=held.cores,
                threads=_threads(outcome),
            ),
            enforced_by=held.enforced_by,
            allowance=Allowance(
                emulator_bytes=held.emulator_bytes,
                emulator_error_bytes=held.emulator_error_bytes,
                probe_bytes=held.probe_bytes,
                measured=held.calibrated,
            ),
        )
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
        enforced_by=context.enforced_by,
    )


def _threads(outcome: Outcome) -> int | None:
    """Return the BLAS threads: OpenBLAS uses no more than there are CPUs."""
    usable = (outcome.machine or {}).get("cores_usable")
    return min(outcome.work.threads, usable) if usable else None


def _environment(outcome: Outcome, context: Context) -> Environment:
    machine = outcome.machine or {}
    host = context.target.environment()
    # A container's /proc/meminfo is the host's.
    total_kib = None if outcome.memory_limits else machine.get("mem_total_kib")
    midr = machine.get("main_id_register")
    return Environment(
        host=outcome.host
        or host_environment(qemu_version=host["qemu_version"], engine=host.get("engine")),
        guest=GuestEnvironment(
            kernel=machine.get("kernel"),
            architecture=machine.get("architecture"),
            memory_total_bytes=total_kib * KIB if total_kib else None,
            device_tree_model=machine.get("board"),
            main_id_register=f"{midr:#x}" if midr is not None else None,
            caffe_version=machine.get("caffe_version"),
            caffe_origin=machine.get("caffe_origin"),
            blas_name=machine.get("blas"),
            blas_core_type=machine.get("blas_core"),
            blas_threads=_threads(outcome),
            python_version=machine.get("python"),
            # A board's Caffe may be its own: the probe reports which one it used.
            image_lock_digest=machine.get("caffe_lock") or host["image_lock_digest"],
            container_image_id=host.get("container_image_id"),
            **_state(outcome, context),
        ),
    )


def _state(outcome: Outcome, context: Context) -> dict[str, Any]:
    """Return the clock's governor, and the reason for each figure the machine does not report."""
    machine = outcome.machine or {}
    told = (outcome.result or {}).get("inference", {}).get("state", {})
    unavailable = {**machine.get("unavailable", {}), **told.get("unavailable", {})}
    governor = machine.get("governor")
    if context.on_another_machine:
        reason = "emulated by a program of this host, whose own figures are not the core's"
        unavailable |= dict.fromkeys((*HOST_FIGURES, "governor"), reason)
        governor = None
    return {"governor": governor, "unavailable": unavailable}
