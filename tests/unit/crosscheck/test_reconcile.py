"""Sides against each other: each metric, only like with like, never a pass for want of anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pibench.crosscheck import blobs
from pibench.crosscheck.blobs import compare_outputs
from pibench.crosscheck.gate import decide, parse
from pibench.crosscheck.metrics import compare_latencies, compare_ram, compare_verdicts
from pibench.crosscheck.reconcile import Tolerances, reconcile
from pibench.crosscheck.sides import (
    Entry,
    Side,
    entry_of,
    paper_side,
    read_side,
    read_sides,
    write_baseline,
)
from pibench.crosscheck.values import Tolerance
from pibench.errors import ExitCode, InvalidInputError
from pibench.records.schema import Evidence, Limits, LimitSet, Provenance
from pibench.records.store import RecordStore
from pibench.report import cases
from pibench.report.comparisons import closing, described, print_reconciliation, reconciliation_json
from pibench.report.tables import console
from tests.whole_records import of_the_zoo

if TYPE_CHECKING:
    from pibench.records.schema import Record

MakeRun = Callable[..., "Record"]
MIB = 2**20
KILLED = Evidence(summary="killed", exit_status=-9, signal=9)
CUT = Provenance(kind="unavailable", reason="the run did not come to its end")


@pytest.fixture
def entry(make_run: MakeRun) -> Callable[..., Entry]:
    return lambda **changes: entry_of(make_run(**changes))


@pytest.fixture
def side(make_run: MakeRun) -> Callable[..., Side]:
    """A side of records, one for each dictionary of changes."""

    def make(name: str, *changes: dict[str, Any]) -> Side:
        return Side.of(name, "records", [entry_of(make_run(**one)) for one in changes or ({},)])

    return make


def killed(make_run: MakeRun, **changes: Any) -> Entry:
    """A network that the kernel ended."""
    whole = make_run(**changes)
    record = whole.model_copy(
        update={
            "verdict": "no-fit",
            "evidence": KILLED,
            "latency_ms": None,
            "layers": (),
            "outputs": (),
            "provenance": whole.provenance | dict.fromkeys(("latency_ms", "outputs"), CUT),
        }
    )
    return entry_of(record)


# ---------------------------------------------------------------- verdicts and RAM


@pytest.mark.parametrize(
    ("first", "second", "agrees"),
    [
        ("fit", "fit", True),
        ("no-fit", "no-fit", True),
        ("fit", "no-fit", False),
        ("fit", "borderline", None),
        ("borderline", "borderline", None),
        ("inconclusive", "no-fit", None),
    ],
)
def test_verdicts_agree_where_both_decide(
    first: str, second: str, agrees: bool | None, entry: Callable[..., Entry]
) -> None:
    found = compare_verdicts(entry(verdict=first), entry(verdict=second))
    assert found.agrees is agrees
    assert bool(found) is (agrees is True)
    assert bool(found.why) is (agrees is not True)


def ram(entry: Callable[..., Entry], mib: int) -> Entry:
    return entry(peak_rss_bytes=(57 + mib) * MIB, network_rss_bytes=mib * MIB)


def test_ram_is_compared_by_a_share_of_the_first(entry: Callable[..., Entry]) -> None:
    found = compare_ram(ram(entry, 100), ram(entry, 104), 0.05)
    assert found
    assert found.error == pytest.approx(0.04)
    worse = compare_ram(ram(entry, 100), ram(entry, 106), 0.05)
    assert worse.agrees is False
    assert worse.required == pytest.approx(0.06)
    assert compare_ram(ram(entry, 100), ram(entry, 106), (worse.required or 0) + 1e-12)


def test_the_noise_of_runs_is_not_a_difference_of_ram(
    entry: Callable[..., Entry], side: Callable[..., Side]
) -> None:
    found = compare_ram(ram(entry, 8), ram(entry, 10), 0.05)
    assert found
    assert described(found) == "+25.0 %: 2.0 MiB apart, within the floor of 2 MiB"
    assert compare_ram(ram(entry, 8), ram(entry, 11), 0.05).agrees is False
    assert compare_ram(ram(entry, 8), ram(entry, 9), 0.05, 0).agrees is False
    # Two plans have no noise.
    plans = [one.model_copy(update={"kind": "planned"}) for one in (ram(entry, 8), ram(entry, 9))]
    assert compare_ram(*plans, tolerance=0.05).agrees is False
    sides = [
        side(name, {"peak_rss_bytes": (57 + mib) * MIB, "network_rss_bytes": mib * MIB})
        for name, mib in (("a", 8), ("b", 9))
    ]
    assert judged("ram=5%", *sides)[0] == ExitCode.OK
    assert judged("ram=5%+0.5MiB", *sides)[0] == ExitCode.DISAGREEMENT


def test_a_peak_that_was_cut_short_is_not_compared(
    make_run: MakeRun, entry: Callable[..., Entry]
) -> None:
    found = compare_ram(entry(), killed(make_run))
    assert (found.agrees, found.not_applicable) == (None, False)
    assert "lower bound" in found.why
    assert compare_ram(killed(make_run), killed(make_run)).not_applicable


# ---------------------------------------------------------------- latency


def test_times_of_the_board_are_compared_whoever_measured_them(
    entry: Callable[..., Entry],
) -> None:
    board = entry(target="native", times_ms=(100.0, 20.0, 10.0))
    other = entry(target="ssh", times_ms=(110.0, 20.0, 10.0))
    found = compare_latencies(board, other, 0.15)
    assert found
    assert found.error == pytest.approx(10 / 130)
    assert compare_latencies(board, other, 0.05).agrees is False


@pytest.mark.parametrize("target", ["twin", "vm", "sysroot", "container"])
@pytest.mark.parametrize("against", ["native", "twin", "vm"])
def test_emulated_times_and_the_twins_are_compared_with_none(
    target: str, against: str, entry: Callable[..., Entry]
) -> None:
    found = compare_latencies(entry(target=target), entry(target=against))
    assert (found.agrees, found.error) == (None, None)
    assert (
        "two clocks" in found.why
        or "compared with no other" in found.why
        or "compared with no other" in found.why
    )
    assert found.shares is not None
    assert found.shares.rank_correlation == pytest.approx(1.0)


def test_shares_and_ranks_state_which_layer_takes_another_part_of_the_time(
    entry: Callable[..., Entry],
) -> None:
    found = compare_latencies(
        entry(target="twin", times_ms=(6.0, 3.0, 1.0)),
        entry(target="native", times_ms=(60.0, 10.0, 30.0)),
    )
    assert found.shares is not None
    assert found.shares.rank_correlation == pytest.approx(0.5)
    assert found.shares.largest in ("layer1", "layer2")
    assert abs(found.shares.first - found.shares.second) == pytest.approx(0.2)


# ---------------------------------------------------------------- outputs

SCORES = np.linspace(0.1, 0.9, 8).reshape(1, 8)


def test_outputs_within_the_tolerance_agree_and_state_the_smallest_tolerance(
    entry: Callable[..., Entry],
) -> None:
    found = compare_outputs(entry(scores=SCORES), entry(target="vm", scores=SCORES * (1 + 1e-6)))
    assert found
    assert (found.top1, found.top5) == (True, True)
    assert found.required == pytest.approx(1e-6, rel=0.2)
    assert found.blobs[0].way == "values"


def test_outputs_beyond_it_differ(entry: Callable[..., Entry]) -> None:
    found = compare_outputs(entry(scores=SCORES), entry(scores=SCORES[:, ::-1].copy()))
    assert found.agrees is False
    assert found.top1 is False
    assert compare_outputs(
        entry(scores=SCORES),
        entry(scores=SCORES * 1.01),
        Tolerance(atol=0.0, rtol=found.required or 0.0),
    )


@pytest.mark.parametrize("damaged", ["", "AAAA", "no base64"])
def test_damaged_values_are_not_compared(entry: Callable[..., Entry], damaged: str) -> None:
    first = entry(scores=SCORES)
    # The summary still is that of the whole values.
    outputs = tuple(
        blob.model_copy(update={"values": damaged, "sha256": "0" * 64}) for blob in first.outputs
    )
    found = compare_outputs(first, first.model_copy(update={"outputs": outputs}))
    assert found.agrees is None
    assert "the recorded values are damaged" in found.why


def test_without_values_the_projections_decide(entry: Callable[..., Entry]) -> None:
    large = np.random.default_rng(0).standard_normal((1, 70_000))
    first = entry(scores=large, values=False)
    near = compare_outputs(first, entry(scores=large * (1 + 1e-5), values=False))
    assert near
    assert near.blobs[0].way == "projection"
    assert near.blobs[0].relative == pytest.approx(1e-5, rel=1.5)
    assert compare_outputs(first, entry(scores=large * 1.01, values=False)).agrees is False
    assert compare_outputs(first, entry(scores=large, values=False)).blobs[0].way == "equal"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"input_sha256": "3" * 64, "seed": 1}, "inputs differ (seeds 0 and 1)"),
        ({"weights_sha256": "3" * 64}, "the weights differ"),
        ({"input_sha256": None}, "does not tell its input"),
    ],
)
def test_outputs_of_another_computation_are_not_compared(
    changes: dict[str, Any], why: str, entry: Callable[..., Entry]
) -> None:
    found = compare_outputs(entry(), entry(**changes))
    assert (found.agrees, found.not_applicable) == (None, False)
    assert why in found.why


def test_an_output_that_one_side_lacks_differs(make_run: MakeRun) -> None:
    whole = make_run()
    renamed = whole.outputs[0].model_copy(update={"name": "other"})
    two = whole.model_copy(update={"outputs": (*whole.outputs, renamed)})
    for pair in ((whole, two), (two, whole)):
        found = compare_outputs(*map(entry_of, pair))
        assert found.agrees is False
        assert "other" in found.why


# ---------------------------------------------------------------- sides


def test_every_two_sides_are_compared_and_environments_reported(side: Callable[..., Side]) -> None:
    found = reconcile(
        [side("a"), side("b", {"blas": "reference/libblas.so.3"}), side("c", {"target": "vm"})]
    )
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        ("a", "b"), ("a", "c"), ("b", "c"),
    ]  # fmt: skip
    assert found.pairs[0].surroundings == (("BLAS", "OpenBLAS 0.3.13", "reference/libblas.so.3"),)
    assert ("QEMU", "unknown", "qemu 7.2") in found.pairs[1].surroundings
    assert found


def test_no_network_in_common_is_an_error_and_states_why(side: Callable[..., Side]) -> None:
    other = {"network_sha256": "b" * 64}
    with pytest.raises(InvalidInputError, match="the prototxts differ") as raised:
        reconcile([side("a"), side("b", other)])
    assert raised.value.exit_code == ExitCode.INVALID_INPUT
    with pytest.raises(InvalidInputError, match="of inference, batch 1 in a and of inference"):
        reconcile([side("a"), side("b", {"batch": 4})])
    with pytest.raises(InvalidInputError, match="one side alone"):
        reconcile([side("a")])


def test_sides_of_other_networks_are_distinguished_by_their_names(
    side: Callable[..., Side],
) -> None:
    others = [{"network": f"n{one}", "network_sha256": str(one) * 64} for one in range(5)]
    with pytest.raises(InvalidInputError, match="sides: a has small; b has n0, n1, n2 and 2 more"):
        reconcile([side("a"), side("b", *others)])


def test_what_was_not_compared_is_in_the_last_line(side: Callable[..., Side]) -> None:
    found = reconcile([side("a"), side("b", {"weights_sha256": "9" * 64})])
    last = closing(found, decide(found, parse(None, Tolerances())[0]))[-1]
    assert last.startswith("All that was compared agrees. Not compared: latency: twin times are")
    assert "; outputs: the weights differ" in last


def test_where_nothing_could_be_compared_it_is_an_error(
    make_run: MakeRun, side: Callable[..., Side]
) -> None:
    lost = killed(make_run).model_copy(update={"verdict": "inconclusive"})
    with pytest.raises(InvalidInputError, match="nothing could be compared"):
        reconcile([side("a"), Side.of("b", "records", [lost])])


def test_of_a_network_the_last_record_counts(make_run: MakeRun) -> None:
    records = [make_run(verdict="no-fit"), make_run(verdict="fit")]
    (entry,) = Side.of("a", "records", map(entry_of, records)).entries
    assert entry.verdict == "fit"


def test_networks_that_one_side_has_alone_are_named(side: Callable[..., Side]) -> None:
    more = {"network": "large", "network_sha256": "c" * 64}
    (pair,) = reconcile([side("a", {}, more), side("b")]).pairs
    assert (pair.only_first, pair.only_second) == (("large",), ())


# ---------------------------------------------------------------- several runs of one name

DEPLOY = [
    {
        "network": "deploy",
        "network_source": f"{folder}/deploy.prototxt",
        "network_sha256": digit * 64,
    }
    for folder, digit in (("a", "4"), ("b", "5"))
]


def threads(count: int) -> dict[str, Any]:
    return {"limits": Limits(asked=LimitSet(threads=count))}


def compared(*sides: Side) -> list[tuple[str, Any, Any]]:
    """The label of each comparison, and the verdicts that were compared."""
    return [(one.label, one.first.verdict, one.second.verdict) for one in reconcile(sides).networks]


def test_networks_of_one_name_are_compared_each_with_its_like(side: Callable[..., Side]) -> None:
    big, small = (DEPLOY[0] | {"verdict": "no-fit"}), (DEPLOY[1] | {"verdict": "fit"})
    sides = side("one", big, small), side("two", small, big)
    assert compared(*sides) == [
        ("a/deploy.prototxt", "no-fit", "no-fit"),
        ("b/deploy.prototxt", "fit", "fit"),
    ]
    found = cases.of_gate(reconcile(sides), judged("verdict,ram", *sides)[1])
    names = [f"{case.subject}: {case.claim}" for case in found.cases]
    assert len(set(names)) == len(names) == 4
    assert "b/deploy.prototxt" in printed_pair(*sides)
    # One that has changed is found, though the other one's is as it was.
    changed = side("two", small, big | {"verdict": "fit"})
    code, gated = judged("verdict", sides[0], changed)
    assert code == ExitCode.DISAGREEMENT
    assert gated.failed == ("a/deploy.prototxt (inference, batch 1): verdict",)


def printed_pair(*sides: Side) -> str:
    out = StringIO()
    found = reconcile(sides)
    print_reconciliation(found, decide(found, parse(None, Tolerances())[0]), to=console(out))
    return out.getvalue()


def test_of_several_runs_those_that_are_alike_are_compared(side: Callable[..., Side]) -> None:
    one = side("one", threads(1) | {"verdict": "fit"}, threads(4) | {"verdict": "no-fit"})
    two = side("two", threads(4) | {"verdict": "no-fit"}, threads(1) | {"verdict": "fit"})
    assert compared(one, two) == [
        ("small, 1 thread", "fit", "fit"), ("small", "no-fit", "no-fit"),
    ]  # fmt: skip
    assert judged("verdict", one, two)[0] == ExitCode.OK


def test_a_run_without_its_like_is_not_compared_and_named(side: Callable[..., Side]) -> None:
    one = side("one", threads(1), threads(4))
    two = side("two", threads(4), threads(2))
    (pair,) = reconcile([one, two]).pairs
    assert pair.names == ["small"]
    assert (pair.only_first, pair.only_second) == (("small, 1 thread",), ("small, 2 threads",))
    assert pair.unlike == (
        "no run in two is like small, 1 thread in one: it has small; small, 2 threads",
        "no run in one is like small, 2 threads in two: it has small, 1 thread; small",
    )
    for output in pair.unlike:
        assert output in " ".join(printed_pair(one, two).split())


def test_runs_of_a_baseline_that_were_not_made_again_are_undecided(
    tmp_path: Path, side: Callable[..., Side]
) -> None:
    path = write_baseline(side("one", threads(1), threads(4)), tmp_path / "accepted.json")
    code, found = judged("verdict", read_side(str(path)), side("two", threads(4)))
    assert code == ExitCode.INCONCLUSIVE
    assert found.undecided == ("small, 1 thread: of the baseline, not run",)


def test_where_the_places_differ_they_are_what_is_compared(side: Callable[..., Side]) -> None:
    emulated = side("emulated", {"target": "vm"}, {"target": "sysroot"})
    assert compared(emulated, side("board", {"target": "ssh"})) == [
        ("small, vm virt", "fit", "fit"), ("small, sysroot", "fit", "fit"),
    ]  # fmt: skip
    again = side("again", {"target": "sysroot", "verdict": "no-fit"}, {"target": "vm"})
    assert compared(emulated, again) == [
        ("small, vm virt", "fit", "fit"), ("small, sysroot", "fit", "no-fit"),
    ]  # fmt: skip


def test_a_files_network_is_not_the_papers_of_that_name(make_record: MakeRun) -> None:
    own = make_record(network_source="nets/alexnet.prototxt", verdict="no-fit")
    with pytest.raises(InvalidInputError, match="no network is on two sides"):
        reconcile([paper_side(), Side.of("own", "records", [entry_of(own)])])
    copy = of_the_zoo(own)
    found = reconcile([paper_side(), Side.of("own", "records", [entry_of(copy)])])
    assert [one.label for one in found.networks] == ["AlexNet"]
    assert found.networks[0].metrics["verdict"].agrees is False


# ---------------------------------------------------------------- the gate


def judged(text: str | None, *sides: Side) -> tuple[ExitCode, Any]:
    gate, tolerances = parse(text, Tolerances())
    found = decide(reconcile(sides, tolerances), gate)
    return found.code, found


def test_what_agrees_passes(side: Callable[..., Side]) -> None:
    assert judged(None, side("a"), side("b"))[0] == ExitCode.OK
    assert judged("verdict,ram=1%,outputs", side("a"), side("b"))[0] == ExitCode.OK


def test_the_aspects_that_were_named_decide_alone(side: Callable[..., Side]) -> None:
    fatter = {"peak_rss_bytes": 654 * MIB, "network_rss_bytes": 597 * MIB}
    sides = side("a"), side("b", fatter)
    assert judged(None, *sides)[0] == ExitCode.DISAGREEMENT
    assert judged("verdict,outputs", *sides)[0] == ExitCode.OK
    assert judged("ram=25%", *sides)[0] == ExitCode.OK
    code, found = judged("ram=5%", *sides)
    assert code == ExitCode.DISAGREEMENT
    assert found.failed == ("small (inference, batch 1): ram",)


def test_a_gate_that_compares_nothing_is_an_error(side: Callable[..., Side]) -> None:
    code, found = judged("latency=15%", side("a"), side("b"))
    assert code == ExitCode.INVALID_INPUT
    assert "latency: it could be compared for no network" in found.incomparable[0]


def test_a_network_left_uncompared_is_undecided(side: Callable[..., Side]) -> None:
    other = {"network": "other", "network_sha256": "d" * 64}
    changed = other | {"weights_sha256": "9" * 64}
    code, found = judged("outputs", side("a", {}, other), side("b", {}, changed))
    assert code == ExitCode.INCONCLUSIVE
    assert found.undecided == ("other (inference, batch 1): outputs",)
    # Without a gate of that kind it is reported, and decides nothing.
    assert judged(None, side("a", {}, other), side("b", {}, changed))[0] == ExitCode.OK


def test_what_fits_on_neither_side_leaves_nothing_open(
    make_run: MakeRun, side: Callable[..., Side]
) -> None:
    large = {"network": "large", "network_sha256": "e" * 64}
    both = [
        Side.of(name, "records", [*side(name).entries, killed(make_run, **large)])
        for name in ("a", "b")
    ]
    assert judged("verdict,ram=5%,outputs", *both)[0] == ExitCode.OK


def test_the_exit_code_shows_an_undecided_verdict(side: Callable[..., Side]) -> None:
    assert judged(None, side("a"), side("b", {"verdict": "borderline"}))[0] == (
        ExitCode.INCONCLUSIVE
    )


@pytest.mark.parametrize(
    "text",
    ["", "speed", "ram=", "ram=5", "ram=x%", "verdict=5%", "outputs=1%", "ram=5%;outputs", "ram,,"],
)
def test_a_gate_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="--fail-on"):
        parse(text, Tolerances())


def test_a_gates_shares_are_taken() -> None:
    gate, tolerances = parse("ram=2.5%, latency = 30 %,verdict".replace(" = ", "="), Tolerances())
    assert gate.metrics == ("ram", "latency", "verdict")
    assert (tolerances.ram, tolerances.latency) == (0.025, 0.3)


# ---------------------------------------------------------------- files


def test_a_baseline_is_met_by_what_it_was_written_from(
    side: Callable[..., Side], tmp_path: Path
) -> None:
    path = write_baseline(
        side("a", {}, {"network": "b", "network_sha256": "b" * 64}), tmp_path / "f"
    )
    accepted = read_side(str(path))
    assert accepted.origin == "baseline"
    assert judged("verdict,ram=0%,outputs", accepted, side("a", {}, {"network": "b", "network_sha256": "b" * 64}))[0] == ExitCode.OK  # fmt: skip  # noqa: E501
    # Written again from what was read, it is the same file.
    again = write_baseline(Side.of("a", "baseline", accepted.entries), tmp_path / "g")
    assert again.read_bytes() == path.read_bytes()


def test_a_network_of_the_baseline_that_was_not_run_is_undecided(
    side: Callable[..., Side], tmp_path: Path
) -> None:
    both = side("a", {}, {"network": "gone", "network_sha256": "b" * 64})
    accepted = read_side(str(write_baseline(both, tmp_path / "f.json")))
    code, found = judged("verdict", accepted, side("run"))
    assert code == ExitCode.INCONCLUSIVE
    assert found.undecided == ("gone: of the baseline, not run",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has nothing"),
        ("[]", "has nothing"),
        ("[{", "not valid JSON"),
        ("[3]", "item 1: is not an object"),
        ('[{"a": 1}]', "item 1: is not a record, plan or prediction"),
        ('[{"peak_at": 1}]', "item 1: is not valid"),
        ('[{"pressure_ms": Infinity}]', "0.pressure_ms: "),
        ("[" * 100_000, "not valid JSON (recursion limit"),
        ('{"a": 1' + "0" * 400 + "}", "line 1: a: "),
        ('{"pibench_baseline": "1.0"', "not valid JSON"),
        ('{"pibench_baseline": "1.0"}', "has no network"),
        ('{"pibench_baseline": "2.0", "networks": []}', "version 2.0"),
        ('{"pibench_baseline": "1.0", "networks": [{"network": 3}]}', "network 1: network:"),
        ('{"a": 1}', "line 1: not a record"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_place(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "side.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError) as raised:
        read_side(str(path))
    assert raised.value.line().startswith(f"{path}: ")
    assert message in raised.value.line()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch", -1, "greater than 0"),
        ("ram_bytes", -5, "greater than or equal to 0"),
        ("latency_ms", -1.0, "greater than or equal to 0"),
        ("latency_ms", 1e300, "less than or equal"),
        ("network", "", "at least 1 character"),
        ("network_sha256", "x", "match pattern"),
        ("seed", -1, "greater than or equal to 0"),
    ],
)
def test_a_figure_of_a_baseline_is_within_bounds(
    side: Callable[..., Side], tmp_path: Path, field: str, value: Any, message: str
) -> None:
    path = write_baseline(side("a", {}), tmp_path / "f.json")
    content = json.loads(path.read_text())
    content["networks"][0][field] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match=f"network 1: {field}: .*{message}"):
        read_side(str(path))


def test_a_peak_below_that_of_no_network_is_not_compared(make_run: MakeRun) -> None:
    entry = entry_of(make_run(peak_rss_bytes=10, baseline_rss_bytes=12, network_rss_bytes=-2))
    assert entry.ram_bytes is None
    assert "below that of the same program without a network" in entry.ram.reason


def test_next_to_nothing_is_not_a_share_of_anything(side: Callable[..., Side]) -> None:
    """A share of it would be infinite, which JSON does not have."""
    found = compare_latencies(
        *(side("a", {"latency_ms": one, "target": "native"}).entries[0] for one in (5e-324, 1e12))
    )
    assert (found.agrees, found.error) == (False, None)
    assert blobs.relative_distance(1e40, 5e-324) is None


def test_files_of_one_name_are_distinguished(make_run: MakeRun, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        RecordStore(tmp_path / folder / "records.jsonl").append(make_run())
    paths = [str(tmp_path / folder / "records.jsonl") for folder in ("x", "y")]
    assert [side.name for side in read_sides(paths)] == paths


def test_records_printed_as_json_are_a_side_too(make_run: MakeRun, tmp_path: Path) -> None:
    from pibench.records.store import to_json

    path = tmp_path / "printed.json"
    path.write_text(to_json([make_run()]))
    side = read_side(str(path))
    assert (side.origin, len(side.entries)) == ("records", 1)


def test_the_paper_is_a_side(paper_run: list[Record]) -> None:
    own = Side.of("vm", "records", map(entry_of, paper_run))
    found = reconcile([paper_side(), own], Tolerances(ram=0.10))
    assert len(found.networks) == 26
    assert all(one.metrics["verdict"] for one in found.networks)
    assert sum(one.metrics["ram"].agrees is True for one in found.networks) == 15


# ---------------------------------------------------------------- what is printed


def test_it_is_printed_whole_and_in_eighty_columns(
    side: Callable[..., Side], capsys: pytest.CaptureFixture[str]
) -> None:
    worse = {"scores": SCORES * 1.01, "target": "vm", "verdict": "no-fit"}
    other = {"network": "\x1b[31mred", "network_sha256": "f" * 64}
    found = reconcile([side("a", {}, other), side("b", worse)])
    print_reconciliation(found, decide(found, parse(None, Tolerances())[0]), to=console())
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 80
    flat = " ".join(output.split())
    assert "! small: verdict: fit and no-fit" in flat
    assert "! small: outputs: prob differs by up to 0.009, rtol alone of 0.01 would do" in flat
    assert "only in a: \\x1b[31mred" in flat
    assert "\x1b" not in output


def test_the_json_contains_what_the_table_does(side: Callable[..., Side]) -> None:
    found = reconcile([side("a"), side("b", {"target": "vm"})])
    passed = decide(found, parse(None, Tolerances())[0])
    document = json.loads(json.dumps(reconciliation_json(found, passed), allow_nan=False))
    assert (document["schema_version"], document["exit_code"], document["agrees"]) == (
        "2.0",
        0,
        True,
    )
    (network,) = document["pairs"][0]["networks"]
    assert network["metrics"]["outputs"]["blobs"][0]["values"]["top5"] is True
    assert network["second"]["kind"] == "emulated"
