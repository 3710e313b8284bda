"""From what a target saw to records, for every kind of outcome; and sweeps that break half way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from pibench import devices, networks
from pibench.errors import HostError, InvalidInputError
from pibench.records.identity import latest, run_of
from pibench.records.store import RecordStore
from pibench.report.runs import command
from pibench.runner.jobs import facts_of, job_of
from pibench.runner.options import TIMEOUT_S, RunOptions
from pibench.runner.record import Context, record_of
from pibench.runner.reference import TwinPeak
from pibench.runner.runner import Runner
from pibench.targets.base import Job, KeptBlob, Outcome
from tests.whole_records import probe_reading as reading
from tests.whole_records import probe_result as result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pibench.networks.network import Network
    from pibench.records.schema import Record
    from pibench.runner.reference import Reference
    from pibench.targets.base import Observer, Watcher

MIB = 2**20
PI = devices.load("rpi3b")
MACHINE = {
    "mem_total_kib": 1_004_972,
    "swap_total_kib": 0,
    "cores_usable": 2,
    "kernel": "5.10.0-35-arm64",
    "architecture": "aarch64",
    "python": "3.9.2",
    "board": None,
    "engine_version": "caffe version 1.0.0",
    "blas": "OpenBLAS 0.3.13",
    "blas_core": "cortexa53",
}
REFUSED = "syncedmem.hpp:33] Check failed: *ptr host allocation of size 1726272432 failed"


def oom(pid: int, program: str = "caffe") -> str:
    return f"Out of memory: Killed process {pid} ({program}) total-vm:1500000kB"


class FakeTarget:
    """A target whose outcomes the test gives; an exception among them is raised."""

    def __init__(self, name: str = "vm", outcomes: Sequence[Any] = ()) -> None:
        self.name = name
        self.machine = "virt" if name == "vm" else None
        self.outcomes = outcomes
        self.prepared: list[Job] = []

    def prepare(self, work: Sequence[Job]) -> None:
        self.prepared = list(work)

    def environment(self) -> dict[str, str | None]:
        return {"qemu_version": "QEMU 7.2", "image_lock_digest": "d" * 64}

    def run(self, work: Sequence[Job], observe: Observer, _watch: Watcher) -> None:
        for index, ended in self.outcomes:
            if isinstance(ended, BaseException):
                raise ended
            observe(Outcome(job=work[index], machine=MACHINE, result=ended))


@pytest.fixture(scope="module")
def network() -> Network:
    return networks.load("NIN")


def killed(**changes: Any) -> dict[str, Any]:
    fields = result(
        exit_status=None,
        signal=9,
        peak_rss_bytes=900 * MIB,
        oom_lines=[oom(301)],
        oom_kills=1,
        **changes,
    )
    del fields["caffe_time"]
    return fields


@pytest.fixture
def record(network: Network) -> Callable[..., Record]:
    """The record of one outcome."""

    def make(
        seen: dict[str, Any] | None,
        *,
        target: str = "vm",
        reference: TwinPeak | None = None,
        request: Any = None,
        **outcome: Any,
    ) -> Record:
        fields: dict[str, Any] = {"compute": "real"} | (request or {})
        work = job_of(0, network, RunOptions(**fields))
        context = Context(
            device=RunOptions(**fields).profile, target=cast("Any", FakeTarget(target))
        )
        outcome.setdefault("machine", MACHINE)
        facts = facts_of(network, work)
        return record_of(
            facts, Outcome(job=work, result=seen, **outcome), context, lambda _: reference
        )

    return make


def test_a_network_that_fits(record: Callable[..., Record], network: Network) -> None:
    made = record(result())
    assert made.verdict == "fit"
    assert (made.peak_rss_bytes, made.baseline_rss_bytes) == (300 * MIB, 57 * MIB)
    assert made.network_rss_bytes == 243 * MIB
    assert made.headroom_bytes == PI.usable_bytes - 300 * MIB
    assert (made.network, made.network_source) == ("NIN", "zoo")
    assert made.weights_file_bytes == network.weights_file_bytes
    assert made.latency_ms == 812.75
    assert made.provenance["latency_ms"].kind == "emulated"
    assert "nothing about the time on the board" in made.provenance["latency_ms"].reason
    assert made.provenance["outputs"].reason == "caffe time gives no outputs"
    layers = [(x.name, x.type, x.forward_ms, x.backward_ms) for x in made.layers]
    assert layers == [("conv1", "Convolution", 12.5, 30.0), ("conv1_split", "Split", 0.5, None)]
    assert made.evidence.elapsed_seconds == 1.5


@pytest.mark.parametrize("seen", [result(), killed()])
def test_a_run_for_the_values_of_layers_claims_nothing_about_memory(
    record: Callable[..., Record], seen: dict[str, Any]
) -> None:
    seen.pop("caffe_time", None)
    request = {"engine": "opencv", "protocol": "inference", "layer_values": True}
    made = record(seen, request=request)
    assert made.verdict == "inconclusive"
    assert (made.peak_rss_bytes, made.network_rss_bytes, made.headroom_bytes) == (None, None, None)
    for name in ("peak_rss_bytes", "headroom_bytes"):
        assert "takes memory of its own" in made.provenance[name].reason
    assert "takes memory of its own" in made.evidence.summary


def test_where_it_ran_is_in_the_record(record: Callable[..., Record]) -> None:
    made = record(result())
    assert (made.limits.asked.memory_bytes, made.limits.asked.cores) == (PI.ram_bytes, 4)
    assert made.limits.in_force.memory_bytes == 1_004_972 * 1024
    # OpenBLAS takes no more threads than there are CPUs.
    assert (made.limits.asked.threads, made.limits.in_force.threads) == (4, 2)
    assert made.environment.host.qemu_version == "QEMU 7.2"
    assert made.environment.guest.image_lock_digest == "d" * 64
    assert made.environment.guest.blas_core_type == "cortexa53"


def test_a_reserve_is_taken_from_the_device_and_recorded(record: Callable[..., Record]) -> None:
    made = record(result(), request={"reserve": 200.0})
    left = PI.with_reserve(200)
    assert made.limits.reserve_bytes == 200 * MIB
    assert made.limits.asked.memory_bytes == PI.ram_bytes - 200 * MIB
    assert made.headroom_bytes == left.usable_bytes - 300 * MIB
    assert made.device_profile == left
    assert "--reserve 200 " in command(made)
    # A run with a reserve is another run.
    whole = record(result())
    assert whole.limits.reserve_bytes == 0
    assert run_of(whole).identity != run_of(made).identity
    assert latest([whole, made]) == [whole, made]


@pytest.mark.parametrize("target", ["native", "ssh://pi@board"])
def test_no_reserve_is_taken_from_a_board(target: str, network: Network) -> None:
    with pytest.raises(InvalidInputError, match="own kernel cannot be given less"):
        RunOptions(target=target, reserve=100.0).check(network)


def test_a_network_that_the_kernel_killed(record: Callable[..., Record]) -> None:
    others = [oom(99, "sshd"), oom(3010), "oom-kill:constraint=NONE,task=caffe,pid=301,uid=0"]
    made = record(
        killed() | {"oom_lines": [*others, oom(301)]}, reference=TwinPeak(rss_bytes=1486 * MIB)
    )
    assert made.verdict == "no-fit"
    assert made.evidence.oom_kills == (others[2], oom(301))
    assert (made.evidence.exit_status, made.evidence.signal) == (-9, 9)
    assert made.headroom_bytes == PI.usable_bytes - 1486 * MIB
    assert "lower bound" in made.provenance["peak_rss_bytes"].reason
    assert "lower bound" in made.provenance["network_rss_bytes"].reason
    assert made.latency_ms is None
    assert made.provenance["latency_ms"].reason == "the run did not come to its end"


def test_a_refused_allocation(record: Callable[..., Record]) -> None:
    seen = killed() | {"signal": 6, "oom_lines": [], "oom_kills": 0, "fatal_message": REFUSED}
    made = record(seen)
    assert (made.verdict, made.evidence.fatal_message) == ("no-fit", REFUSED)
    assert record(seen, target="twin").verdict == "inconclusive"


def test_a_guest_that_died_with_the_kernels_word(record: Callable[..., Record]) -> None:
    lines = (oom(301), oom(1, "systemd"))
    made = record(None, died="the guest printed nothing", console_oom_lines=lines)
    assert made.verdict == "no-fit"
    assert made.evidence.oom_kills == (oom(301),)
    assert made.evidence.guest_died
    assert made.peak_rss_bytes is None
    assert made.provenance["baseline_rss_bytes"].kind == "unavailable"


@pytest.mark.parametrize("lines", [(), (oom(1, "systemd"),)])
def test_a_guest_that_died_without_it(
    lines: tuple[str, ...], record: Callable[..., Record]
) -> None:
    made = record(None, died="the machine ended", console_oom_lines=lines, machine=None)
    assert made.verdict == "inconclusive"
    assert made.evidence.notes == ("the machine ended",)
    assert made.limits.in_force.memory_bytes is None


def test_a_deadline_and_an_abort_are_inconclusive(record: Callable[..., Record]) -> None:
    late = record(killed(timed_out=True) | {"oom_lines": [], "oom_kills": 0})
    assert (late.verdict, late.evidence.timed_out) == ("inconclusive", True)
    seen = killed(
        fatal_message="layer_factory.hpp:81] Unknown layer type: Mish", complaint="5:3: x"
    )
    aborted = record(seen | {"signal": 6, "oom_lines": [], "oom_kills": 0})
    assert aborted.verdict == "inconclusive"
    assert "Caffe reported: 5:3: x" in aborted.evidence.notes


def test_a_kernel_log_that_may_not_be_read_leaves_the_counter(
    record: Callable[..., Record],
) -> None:
    made = record(killed() | {"oom_lines": None})
    assert (made.verdict, made.evidence.oom_counter) == ("no-fit", 1)
    assert any("may not be read" in note for note in made.evidence.notes)


def test_memory_only_has_no_times(record: Callable[..., Record]) -> None:
    made = record(result(), request={"compute": "memory-only"})
    assert (made.latency_ms, made.layers, made.outputs) == (None, (), ())
    for name in ("latency_ms", "layers", "outputs"):
        assert made.provenance[name].kind == "unavailable"
        assert "no arithmetic" in made.provenance[name].reason


@pytest.mark.parametrize("tier", ["blas", "loops", None])
def test_the_tier_of_memory_only_compute_is_the_probe_s(
    tier: str | None, record: Callable[..., Record]
) -> None:
    made = record(result(memory_only_tier=tier), request={"compute": "memory-only"})
    assert made.memory_only_tier == tier
    assert record(result()).memory_only_tier is None


def test_a_reason_for_no_stand_ins_is_a_note(record: Callable[..., Record]) -> None:
    machine = {"why_no_loops": "their check failed"}
    note = "Caffe's own loops had no stand-ins: their check failed"
    made = record(result(), machine=machine, request={"compute": "memory-only"})
    assert note in made.evidence.notes
    assert note not in record(result(), machine=machine).evidence.notes


def test_a_log_without_times_is_not_a_time_of_zero(record: Callable[..., Record]) -> None:
    made = record(result(caffe_time={"layers": [], "totals": {}}))
    assert made.latency_ms is None
    assert made.provenance["layers"].reason == "caffe time's log has no such line"


def test_a_baseline_that_failed_gives_no_difference(record: Callable[..., Record]) -> None:
    made = record(result(baseline={"exit_status": 1, "peak_rss_bytes": 5}))
    assert (made.baseline_rss_bytes, made.network_rss_bytes) == (None, None)
    assert made.provenance["network_rss_bytes"].kind == "unavailable"


@pytest.mark.parametrize(("target", "kind"), [("vm", "emulated"), ("native", "measured")])
def test_inference_gives_outputs_and_layers(
    target: str, kind: str, record: Callable[..., Record], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path))
    blob = {
        "name": "prob", "shape": [1, 1000], "sha256": "e" * 64, "minimum": 0.0, "maximum": 0.5,
        "l2_norm": 0.6, "non_finite_count": 2, "projection": [], "values": None,
    }  # fmt: skip
    signature = {name: value for name, value in blob.items() if name != "values"} | {
        "index": 7, "layer": "loss", "type": "Softmax",
    }  # fmt: skip
    inference = {
        "totals_ms": [41.0, 42.0, 43.0],
        "readings": [reading(float(second)) for second in range(5)],
        "state": {"governor": None, "throttle": None, "unavailable": {"clock_hz": "no cpufreq"}},
        "layers": [{"name": "conv1", "type": "Convolution", "forward_ms": 4.5}],
        "outputs": [blob],
        "signatures": [signature],
        "input_sha256": "f" * 64,
        "load_ms": 420.0,
        "warmup_ms": [47.0],
        "read_high_water_kib": 4,
        "high_water_kib": 5,
        "steady_kib": 3,
    }
    seen = result(inference=inference)
    del seen["caffe_time"]
    made = record(seen, target=target, request={"protocol": "inference", "repeats": 3})
    assert (made.latency_ms, made.repeats) == (42.0, 3)
    assert [one.latency_ms for one in made.samples] == [41.0, 42.0, 43.0]
    assert made.latency_interval is not None
    assert made.start_up is not None
    assert (made.start_up.load_ms, made.start_up.first_pass_ms) == (420.0, 47.0)
    sizes = (made.start_up.loaded_peak_rss_bytes, made.start_up.steady_rss_bytes)
    assert sizes == (4096, 3072)
    untimed = seen | {"inference": inference | {"totals_ms": [], "warmup_ms": []}}
    computed = record(untimed, target=target, request={"protocol": "inference", "repeats": 0})
    assert computed.start_up is not None
    assert (computed.start_up.first_pass_ms, computed.start_up.steady_rss_bytes) == (None, None)
    # Seen from outside, an emulated process's sizes contain the emulator's.
    elsewhere = record(seen, target="sysroot", request={"protocol": "inference"}).start_up
    assert elsewhere is not None
    assert (elsewhere.load_ms, elsewhere.loaded_peak_rss_bytes) == (420.0, None)
    assert made.environment.guest.unavailable == {"clock_hz": "no cpufreq"}
    assert made.outputs[0].model_dump(mode="json") == blob
    assert made.layers[0].forward_ms == 4.5
    assert [one.model_dump(mode="json") for one in made.signatures] == [signature]
    assert (made.seed, made.input_sha256) == (0, "f" * 64)
    assert {made.provenance[name].kind for name in ("latency_ms", "layers", "outputs")} == {kind}
    assert made.weights_sha256 is not None


# ---------------------------------------------------------------- the machine's state

POLLED = {"source": "get_throttled", "lag_s": 2.5, "occurred_since": "last look"}


def inferred(times_ms: list[float], readings: list[dict[str, Any]]) -> dict[str, Any]:
    seen = result(
        inference={
            "totals_ms": times_ms,
            "readings": readings,
            "state": {"governor": "ondemand", "throttle": POLLED, "unavailable": {}},
            "layers": [{"name": "conv1", "type": "Convolution", "forward_ms": 4.5}],
            "outputs": [],
            "signatures": [],
            "input_sha256": "f" * 64,
            "high_water_kib": 5,
        }
    )
    del seen["caffe_time"]
    return seen


@pytest.fixture
def on_board(
    record: Callable[..., Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Record]:
    """The record of inference on a board that reports its state."""
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path))

    def make(times_ms: list[float], readings: list[dict[str, Any]], **options: Any) -> Record:
        machine = MACHINE | {"throttle": POLLED, "governor": "ondemand"}
        options = {"target": "native", "machine": machine} | options
        return record(inferred(times_ms, readings), request={"protocol": "inference"}, **options)

    return make


def well(time_s: float, **changes: Any) -> dict[str, Any]:
    return reading(
        time_s,
        **({"throttled_bits": 0, "clock_hz": 1_200_000_000, "temperature_c": 50.0} | changes),
    )


def test_a_throttled_pass_is_set_aside_and_reported(on_board: Callable[..., Record]) -> None:
    seconds = [well(0), well(10), well(20), well(30), well(40), well(50)]
    seconds[2]["throttled_bits"] = 0x40004
    made = on_board([10_000.0, 14_000.0, 10_200.0, 10_100.0], seconds)
    aside = [one.set_aside for one in made.samples]
    # The kernel looks every two seconds, we after each pass: what it has seen by then may
    # have been right at the end of the first pass, and it is there before the third.
    output = "the firmware reports throttled (0x40004)"
    assert aside == [output, output, output, None]
    assert [one.throttled_bits for one in made.samples] == [0x40004] * 3 + [0]
    assert made.latency_ms == 10_100.0
    assert made.latency_interval is None
    assert made.layers
    assert made.environment.guest.governor == "ondemand"


def test_what_the_kernel_learns_late_is_of_the_pass_before(
    on_board: Callable[..., Record],
) -> None:
    readings = [well(0), well(0.7), well(1.4, throttled_bits=0x10000), well(4)]
    made = on_board([700.0, 700.0], readings)
    assert [bool(one.set_aside) for one in made.samples] == [True, True]


def test_a_pass_while_the_kernel_swapped_is_set_aside(on_board: Callable[..., Record]) -> None:
    swapped = [well(t, swapped_bytes=bytes_) for t, bytes_ in ((0, 5), (1, 5), (2, 3 * MIB + 5))]
    made = on_board([1000.0, 1900.0], [*swapped, swapped[-1] | {"time_s": 9.0}])
    assert made.samples[1].set_aside == "the kernel swapped (3.0 MiB)"
    assert (made.latency_ms, made.samples[1].swapped_bytes) == (1000.0, 3 * MIB)


def test_where_no_pass_counts_there_is_no_latency(on_board: Callable[..., Record]) -> None:
    made = on_board([700.0] * 3, [well(t, throttled_bits=5) for t in range(5)])
    assert (made.latency_ms, made.layers, len(made.samples)) == (None, (), 3)
    assert made.provenance["latency_ms"].reason == (
        "3 of 3 set aside: the firmware reports under-voltage, throttled"
    )
    assert "set aside: the firmware" in made.provenance["layers"].reason
    assert made.verdict == "fit"


def test_caffe_time_has_one_sample_of_the_whole_run(record: Callable[..., Record]) -> None:
    machine = MACHINE | {"throttle": POLLED}
    made = record(result(), target="native", machine=machine)
    (sample,) = made.samples
    assert (sample.latency_ms, made.latency_ms, sample.set_aside) == (812.75, 812.75, None)
    late = [well(10), well(12), well(15, throttled_bits=0x10000)]
    made = record(result(readings=late), target="native", machine=machine)
    assert (made.latency_ms, made.layers) == (None, ())
    assert "under-voltage" in made.provenance["latency_ms"].reason
    assert "under-voltage" in made.provenance["layers"].reason
    assert any(note.startswith("while it ran, the firmware") for note in made.evidence.notes)


def test_an_emulators_host_is_not_the_emulated_core(on_board: Callable[..., Record]) -> None:
    readings = [well(t, throttled_bits=5, swapped_bytes=t * MIB) for t in range(4)]
    made = on_board([700.0] * 2, readings, target="sysroot")
    assert (made.samples[0].clock_hz, made.samples[0].throttled_bits) == (None, None)
    # What the host swaps takes time all the same.
    assert "swapped" in (made.samples[0].set_aside or "")
    guest = made.environment.guest
    assert guest.governor is None
    assert "emulated by a program of this host" in guest.unavailable["clock_hz"]


# ---------------------------------------------------------------- work


def test_the_defaults_of_work(network: Network) -> None:
    work = job_of(3, network, RunOptions())
    assert (work.id, work.name, work.weights) == ("3", "NIN", None)
    assert (work.protocol, work.compute, work.threads) == ("caffe-time", "memory-only", 4)
    assert (work.timeout_s, work.repeats, work.warmup) == (TIMEOUT_S["memory-only"], 1, 0)
    # Data and diff of the parameters at least.
    assert work.cost_bytes > 8 * network.parameter_count
    assert work.prototxt == network.prototxt
    asked = RunOptions(compute="real", threads=1, repeats=9, timeout_s=5.0, seed=2)
    real = job_of(0, network, asked)
    assert (real.threads, real.repeats, real.warmup) == (1, 9, 1)
    assert (real.timeout_s, real.seed) == (5.0, 2)


def test_inference_has_seeded_weights_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path))
    small = networks.load("SqueezeNet v1.1")
    first = job_of(0, small, RunOptions(protocol="inference", compute="real"))
    assert first.weights is not None
    # The file calls itself seeded in its name.
    assert 0 < first.weights.stat().st_size - small.weights_file_bytes < 64
    written = first.weights.stat().st_mtime_ns
    again = job_of(0, small, RunOptions(protocol="inference", compute="real"))
    assert again.weights == first.weights
    assert again.weights.stat().st_mtime_ns == written
    other = job_of(0, small, RunOptions(protocol="inference", compute="real", seed=1))
    assert other.weights != first.weights
    assert not list(tmp_path.rglob("*.partial"))


# ---------------------------------------------------------------- sweeps


def sweep(outcomes: Sequence[Any], store: RecordStore, **fields: Any) -> Runner:
    target = cast("Any", FakeTarget(outcomes=outcomes))
    return Runner(target=target, options=RunOptions(compute="real"), store=store, **fields)


def test_records_come_in_the_order_asked_for(network: Network, tmp_path: Path) -> None:
    other = networks.load("SqueezeNet v1.1")
    store = RecordStore(tmp_path / "records.jsonl")
    finished: list[str] = []
    made = sweep(
        [(1, result()), (0, result())], store, on_record=lambda r: finished.append(r.network)
    ).run([network, other])
    assert [record.network for record in made] == ["NIN", other.name]
    assert [record.network for record in store.read()] == [other.name, "NIN"] == finished


@pytest.mark.parametrize("error", [HostError("the machine is gone"), KeyboardInterrupt()])
def test_what_was_recorded_is_kept_when_the_target_breaks(
    error: BaseException, network: Network, tmp_path: Path
) -> None:
    store = RecordStore(tmp_path / "records.jsonl")
    with pytest.raises(type(error)):
        sweep([(0, result()), (1, error)], store).run([network, network])
    assert [record.verdict for record in store.read()] == ["fit"]


def test_a_record_is_kept_whose_blobs_cannot_be_written(network: Network, tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.jsonl")
    (tmp_path / "taken").write_text("")
    kept = KeptBlob(index=0, layer="data", name="data", shape=(1,), content=bytes(4))
    running = sweep([(0, result())], store)
    running.options = replace(
        RunOptions(compute="real", protocol="inference", keep=("data",)), blobs=tmp_path / "taken"
    )

    def run(work: Sequence[Job], observe: Observer, _: Watcher) -> None:
        observe(Outcome(job=work[0], machine=MACHINE, result=result(), kept=(kept,)))

    running.target.run = run  # type: ignore[method-assign, assignment]
    with pytest.raises(HostError, match="taken: the blobs were not written"):
        running.run([network])
    assert [record.kept_blobs for record in store.read()] == [None]


def test_each_record_is_on_disk_before_the_next_is_made(network: Network, tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records.jsonl")
    on_disk: list[int] = []
    sweep(
        [(0, result()), (1, result())],
        store,
        on_record=lambda _: on_disk.append(len(store.read())),
    ).run([network, network])
    assert on_disk == [1, 2]


class FakeReference:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def peak(self, work: Job) -> TwinPeak:
        self.asked.append(work.id)
        return TwinPeak(rss_bytes=2000 * MIB, kept_since="2026-01-31" if work.id == "2" else None)


def test_the_twin_is_asked_where_a_peak_was_cut_short(network: Network, tmp_path: Path) -> None:
    refused = killed() | {"signal": 6, "oom_lines": [], "oom_kills": 0, "fatal_message": REFUSED}
    reference = FakeReference()
    made = sweep(
        [(0, result()), (1, killed()), (2, refused)],
        RecordStore(tmp_path / "records.jsonl"),
        reference=cast("Reference", reference),
    ).run([network] * 3)
    assert reference.asked == ["1", "2"]
    assert [record.headroom_bytes for record in made[1:]] == [PI.usable_bytes - 2000 * MIB] * 2
    reasons = [record.provenance["headroom_bytes"].reason for record in made[1:]]
    assert reasons[1] == f"{reasons[0]}; that peak was measured on 2026-01-31 and kept"
