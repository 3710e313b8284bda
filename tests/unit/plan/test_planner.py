"""Whole plans: against peaks measured before, and what must hold for any network."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pibench import devices, networks, setups
from pibench.crosscheck.estimated import ram_by_setup
from pibench.crosscheck.paper import load_paper
from pibench.engines.base import Protocol
from pibench.engines.caffe.forks import LAYERS as FORK_LAYERS
from pibench.engines.caffe.shapes.rules import RULES
from pibench.errors import InvalidInputError
from pibench.judgements import judge
from pibench.networks.network import Network
from pibench.plan.environment import Environment
from pibench.plan.layers import LAYERS
from pibench.plan.planner import Plan, plan
from tests.wild.networks import WILD
from tests.wild.sequences import SEQUENCES, dense, inputs, recurrent
from tests.wild.strategies import networks as random_networks

MEASURED = Path(__file__).parent / "measured.csv"
PI = Environment(architecture="arm64", core="cortexa53", threads=4)


def measured() -> list[dict[str, str]]:
    """Peaks of real Caffe: the zoo on the twin and in the VM, and networks of tests/wild."""
    with MEASURED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Network]:
    """Loads a network of the zoo, or of tests/wild."""
    path = tmp_path_factory.mktemp("wild") / "net.prototxt"

    @cache
    def load(name: str, batch: int) -> Network:
        if not name.startswith("wild:"):
            return networks.load(name, batch=batch)
        path.write_text((WILD | SEQUENCES)[name.removeprefix("wild:")]())
        return networks.load(str(path), batch=batch)

    return load


@pytest.fixture(scope="module")
def plans(load: Callable[[str, int], Network]) -> Callable[..., Plan]:
    """Plans a network by its name, each once: those of the zoo take most of the time."""

    @cache
    def planned(name: str, batch: int, protocol: Protocol, environment: Environment) -> Plan:
        return plan(load(name, batch), protocol=protocol, environment=environment)

    return planned


def test_planned_peaks_are_within_two_per_cent_of_those_measured(
    plans: Callable[..., Plan],
) -> None:
    errors = {}
    for row in measured():
        environment = Environment(
            architecture=row["architecture"],  # type: ignore[arg-type]
            core=row["core"],
            threads=int(row["threads"]),
        )
        planned = plans(row["network"], int(row["batch"]), row["protocol"], environment)
        key = (row["network"], row["protocol"], row["architecture"], row["batch"])
        errors[key] = planned.peak_rss_bytes / int(row["peak_rss_bytes"]) - 1
    assert len(errors) > 150
    assert max(abs(error) for error in errors.values()) < 0.02, errors
    assert sum(abs(error) for error in errors.values()) / len(errors) < 0.004


@pytest.mark.parametrize("setup", setups.NAMES)
def test_the_verdicts_of_the_paper_follow_from_plans_alone(
    plans: Callable[..., Plan], setup: setups.Setup
) -> None:
    device = devices.load("rpi3b")
    for entry in networks.catalog_entries():
        if entry.in_paper:
            planned = plans(entry.name, 1, "caffe-time", replace(PI, setup=setup))
            wanted = "fit" if entry.paper_row else "no-fit"
            assert judge(planned, device).verdict == wanted, entry.name


def test_the_inferred_set_up_has_the_ram_that_the_paper_prints() -> None:
    paper = load_paper()
    found = ram_by_setup(paper, {entry.key for entry in paper.entries})
    assert len(found) == 15
    errors = [abs(one.error_pct("paper-inferred")) for one in found]
    assert statistics.fmean(errors) <= 0.8
    assert max(errors) <= 2.0
    # GoogleNet shows the job table most: it prints 135.
    googlenet = next(one for one in found if one.key == "googlenet")
    assert googlenet.planned["debian11"] == pytest.approx(145.3, abs=0.2)
    assert googlenet.planned["paper-inferred"] == pytest.approx(136.2, abs=0.2)


def test_a_program_whose_exit_does_not_count_ends_without_it(
    wild: Callable[..., Network],
) -> None:
    whole = plan(wild("tiny"), protocol="caffe-time", environment=PI)
    cut = plan(wild("tiny"), protocol="caffe-time", environment=replace(PI, setup="paper-inferred"))
    assert whole.peak_step.phase == "exit"
    assert cut.peak_step.phase != "exit"
    assert cut.peak_rss_bytes < whole.peak_rss_bytes - 2**20


def test_every_type_with_shapes_has_its_memory() -> None:
    assert set(LAYERS) | {"LRN"} == set(RULES) | set(FORK_LAYERS)


def test_holders_add_up_to_the_peak(wild: Callable[..., Network]) -> None:
    planned = plan(wild("caffenet"), protocol="caffe-time", environment=PI)
    total_bytes = sum(allocation.size_bytes for allocation in planned.allocations)
    assert total_bytes == pytest.approx(planned.peak_rss_bytes, rel=0.01)
    largest = planned.allocations[0]
    assert (largest.layer, largest.kind) == ("innerproduct17", "parameter")
    # 256 x 6 x 6 inputs, 4096 outputs.
    assert largest.size_bytes == pytest.approx(4 * 9216 * 4096, rel=0.001)


def test_a_tiny_network_peaks_when_the_program_ends(wild: Callable[..., Network]) -> None:
    planned = plan(wild("tiny"), protocol="caffe-time", environment=PI)
    assert planned.peak_step == planned.steps[-1]
    assert [allocation.kind for allocation in planned.allocations[:2]] == [
        "program",
        "program's end",
    ]


def test_a_convolution_with_single_elements_needs_no_columns(wild: Callable[..., Network]) -> None:
    planned = plan(wild("attention"), protocol="caffe-time", environment=PI)
    with_columns = {
        allocation.layer for allocation in planned.allocations if allocation.kind == "im2col buffer"
    }
    assert with_columns == {"convolution2", "convolution12"}


def test_the_peak_lies_in_the_timeline(wild: Callable[..., Network]) -> None:
    planned = plan(wild("fcn"), protocol="inference", environment=PI)
    assert planned.peak_step in planned.steps
    assert max(step.peak_bytes for step in planned.steps) == planned.peak_rss_bytes
    phases = list(dict.fromkeys(step.phase for step in planned.steps))
    # Inference ends at once: it frees nothing, and no library cleans up.
    assert phases == ["set-up", "weights", "inputs", "forward"]


def test_every_time_step_fills_weights_before_they_are_shared(wild: Callable[..., Network]) -> None:
    steps = {}
    for count in (10, 11):
        text = inputs(x=(count, 1, 8), cont=(count, 1)) + recurrent("LSTM", "x cont", "h", 512)
        steps[count] = plan(wild(text), protocol="inference", environment=PI).peak_rss_bytes
    # Four gates of 512 by 512.
    assert steps[11] - steps[10] == pytest.approx(4 * 4 * 512 * 512, rel=0.02)


def test_the_memory_inside_a_recurrent_layer_is_its_own(wild: Callable[..., Network]) -> None:
    text = inputs(x=(20, 4, 64), cont=(20, 4)) + recurrent("LSTM", "x cont", "h", 512)
    planned = plan(wild(text), protocol="caffe-time", environment=PI)
    assert {one.layer for one in planned.allocations} == {"", "x", "cont", "h"}
    assert {step.layer for step in planned.steps} == {"", "x", "cont", "h"}


def test_no_gradient_reaches_the_indicators_of_a_sequence(wild: Callable[..., Network]) -> None:
    body = "inner_product_param { num_output: 2 axis: 1 }"
    made = f'layer {{ name: "i" type: "InnerProduct" bottom: "c" top: "cont" {body} }}\n'
    text = inputs(x=(4, 2, 8), c=(4, 3)) + made + recurrent("RNN", "x cont", "h", 8)
    text += dense("h", "y", 1)
    loss = 'layer { name: "l" type: "Reduction" bottom: "y" top: "l" loss_weight: 1 }\n'
    with pytest.raises(InvalidInputError, match="RNN aborts: its bottom 'cont' takes no gradient"):
        plan(wild(text + loss), protocol="caffe-time", environment=PI)
    # Nothing asks for a gradient.
    assert plan(wild(text + loss), protocol="inference", environment=PI)
    assert plan(wild(text), protocol="caffe-time", environment=PI)


def test_shared_weights_count_once(wild: Callable[..., Network]) -> None:
    spaced = WILD["siamese"]().replace('param { name: "w2" }', "param { }")
    both = plan(wild(spaced), protocol="caffe-time", environment=PI)
    one = plan(wild("siamese"), protocol="caffe-time", environment=PI)
    # 20 maps of 38 x 38 into 500 outputs, and its gradient.
    assert both.peak_rss_bytes - one.peak_rss_bytes == pytest.approx(8 * 14_440_000, rel=0.02)


def test_what_aborts_backward_is_refused_under_caffe_time_alone(
    wild: Callable[..., Network],
) -> None:
    text = WILD["tiny"]() + 'layer { name: "best" type: "ArgMax" bottom: "softmax9" top: "best" }'
    with pytest.raises(InvalidInputError, match=r"layer 'best'.*ArgMax aborts"):
        plan(wild(text), protocol="caffe-time", environment=PI)
    assert plan(wild(text), protocol="inference", environment=PI).peak_rss_bytes > 0


def test_stochastic_pooling_is_refused(wild: Callable[..., Network]) -> None:
    text = WILD["tiny"]().replace("pool: MAX", "pool: STOCHASTIC")
    for protocol in ("caffe-time", "inference"):
        with pytest.raises(InvalidInputError, match=r"layer 'pooling3'.*only runs on GPUs"):
            plan(wild(text), protocol=protocol, environment=PI)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=random_networks(), protocol=st.sampled_from(["caffe-time", "inference"]))
def test_more_images_never_need_less(
    tmp_path_factory: pytest.TempPathFactory, text: str, protocol: str
) -> None:
    path = tmp_path_factory.mktemp("net") / "net.prototxt"
    path.write_text(text)
    network = networks.load(str(path))
    if protocol == "caffe-time" and "ArgMax" in text:
        protocol = "inference"
    peaks = [
        plan(
            network.with_batch(batch),
            protocol=protocol,  # type: ignore[arg-type]
            environment=PI,
        ).peak_rss_bytes
        for batch in (1, 2, 4, 16, 64)
    ]
    # Which freed chunk a block is cut from may move a few pages.
    slack = 2**16
    assert all(low <= high + slack for low, high in pairwise(peaks))


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_malformed_text_is_refused_and_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = WILD[data.draw(st.sampled_from(("tiny", "train_val", "attention", "siamese")))]()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 40)))
        filler = data.draw(st.sampled_from(("", "0", "-1", "999999999", "{", "}", '"', "\0", "λ")))
        text = text[:start] + filler + text[end:]
    path = tmp_path_factory.mktemp("bad") / "net.prototxt"
    path.write_text(text, encoding="utf-8")
    refused = ""
    try:
        network = networks.load(str(path))
        network.shapes_under("caffe-time")
        for protocol in ("caffe-time", "inference"):
            plan(network, protocol=protocol, environment=PI)  # type: ignore[arg-type]
    except InvalidInputError as error:
        refused = error.line()
    assert not refused or str(path) in refused
