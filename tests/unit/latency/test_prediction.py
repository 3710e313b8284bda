"""Predicted times: what must hold of the model, of its errors, and of a calibration."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest

from pibench import devices, networks
from pibench.errors import InvalidInputError
from pibench.latency import factors, fit, pressure, validation
from pibench.latency import rates as latency_rates
from pibench.latency.model import layer_ms, predict
from pibench.latency.rates import Observation, Pressure, Rates
from pibench.latency.validation import predict_leave_one_out
from pibench.latency.work import LayerWork
from pibench.plan.planner import plan

if TYPE_CHECKING:
    from pathlib import Path

    from pibench.networks.network import Network
    from pibench.plan.planner import Plan

MIB = 2**20
DEVICE = devices.load("rpi3b")
SHIPPED = latency_rates.shipped()


@pytest.fixture(scope="module")
def validated() -> validation.Validation:
    return validation.validate(SHIPPED)


def test_unseen_networks_are_predicted_within_the_published_error(
    validated: validation.Validation,
) -> None:
    assert sum(row.counted for row in validated.rows) == 14
    assert validated.mape_pct <= 2.5
    assert validated.worst_pct <= 6.0
    assert validated.rank_correlation >= 0.98
    assert validated.within_10_pct == 100
    assert validated.macs_alone_mape_pct > 5 * validated.mape_pct


def test_unseen_predictions_are_those_of_the_validation(
    validated: validation.Validation,
) -> None:
    rows = [*validated.rows[::4], *(row for row in validated.rows if not row.counted)]
    found = predict_leave_one_out([networks.load(row.network) for row in rows], SHIPPED)
    assert [one.latency_ms for one in found] == pytest.approx([row.predicted_ms for row in rows])


def test_the_edge_of_memory_is_found_by_the_plan_alone(validated: validation.Validation) -> None:
    (row,) = [row for row in validated.rows if not row.counted]
    headroom = pressure.headroom_bytes(networks.load(row.network), DEVICE, "caffe-time")
    assert 0 < headroom < pressure.ONSET_MIB * MIB
    assert abs(row.error_pct) <= 15
    assert row.work_ms < 0.8 * row.measured_ms


def test_the_shipped_rates_are_a_file_that_a_user_may_have() -> None:
    file = resources.files("pibench.latency") / "rpi3b.json"
    assert latency_rates.parse(file.read_bytes(), "rpi3b.json") == SHIPPED


def test_the_shipped_rates_are_what_their_times_give() -> None:
    again = fit.calibrate(
        SHIPPED.observations,
        device=DEVICE,
        protocol=SHIPPED.protocol,
        provenance=SHIPPED.provenance,
        source=SHIPPED.source,
    )
    assert again.rates.tile_mac_ns == pytest.approx(SHIPPED.rates.tile_mac_ns, rel=1e-4)
    assert again.rates.access_ns == pytest.approx(SHIPPED.rates.access_ns, rel=1e-4)
    assert again.half_width_share == pytest.approx(SHIPPED.half_width_share, rel=1e-3)
    assert again.pressure.ms_per_mib == pytest.approx(SHIPPED.pressure.ms_per_mib, rel=1e-3)
    assert again.pressure.edge_mib == pytest.approx(SHIPPED.pressure.edge_mib, abs=0.1)
    assert again.pressure.clear_mib == pytest.approx(SHIPPED.pressure.clear_mib, abs=0.1)
    assert [one.at_the_edge for one in again.observations] == [
        one.at_the_edge for one in SHIPPED.observations
    ]


def test_the_rates_are_possible_for_the_cores() -> None:
    cycles_per_mac = SHIPPED.rates.tile_mac_ns * DEVICE.clock_hz / 1e9
    # Two lanes a cycle on each of four cores is the most that there is.
    assert cycles_per_mac >= 1 / 8
    assert SHIPPED.rates.access_ns * DEVICE.clock_hz / 1e9 >= 1


def test_layers_add_up_and_lie_within_the_interval() -> None:
    for name in ("AlexNet", "ResNet-101"):
        one = predict(networks.load(name), DEVICE, SHIPPED)
        total = sum(layer.latency_ms for layer in one.layers) + one.pressure_ms
        assert one.latency_ms == pytest.approx(total)
        assert one.low_ms < one.latency_ms < one.high_ms


def test_more_of_anything_takes_longer() -> None:
    done = LayerWork(
        name="a", type="b", macs=10**6, tile_macs=10**6, accesses=1e5, calls=3, moved_bytes=10**4
    )
    known = layer_ms(done, SHIPPED.rates)
    for more in (
        replace(done, tile_macs=2 * 10**6),
        replace(done, accesses=2e5),
        replace(done, calls=300),
    ):
        assert layer_ms(more, SHIPPED.rates) > known


def test_no_layer_is_faster_than_memory() -> None:
    done = LayerWork(
        name="a", type="b", macs=0, tile_macs=0, accesses=0.0, calls=1, moved_bytes=36 * 10**8
    )
    assert layer_ms(done, SHIPPED.rates) == pytest.approx(1000)


def test_larger_batches_take_longer() -> None:
    one, two = (
        predict(networks.load("SqueezeNet V1.1", batch=batch), DEVICE, SHIPPED) for batch in (1, 2)
    )
    assert 1.9 * one.latency_ms < two.latency_ms < 2.1 * one.latency_ms


EDGE = Pressure(onset_mib=46.0, ms_per_mib=100.0, edge_mib=36.0, clear_mib=50.0)


def cost(headroom_mib: float, *, timed: bool = True) -> pressure.Cost:
    return pressure.cost(int(headroom_mib * MIB), DEVICE, EDGE, timed=timed)


def test_pressure_sets_in_sharply_and_grows_with_what_is_missing() -> None:
    costs = [cost(46 - step).ms for step in (-1, 0, 1, 10)]
    assert costs == pytest.approx([0, 0, 100, 1000], abs=0.1)


def test_less_memory_than_the_board_that_paid_is_never_cheaper() -> None:
    assert cost(36) == pytest.approx((1000, 1000, 1000))
    assert cost(26) == pytest.approx((2000, 1000, 3000))
    assert cost(37).low_ms == 0


def test_pressure_may_set_in_as_late_as_where_nothing_was_paid() -> None:
    assert cost(50) == (0, 0, 0)
    assert cost(43) == pytest.approx((300, 0, 500))


def test_a_plan_of_a_network_that_was_not_timed_may_be_off() -> None:
    # 0.32 % of 880 MiB is 2.8.
    assert cost(36, timed=False).low_ms == 0
    assert cost(32, timed=False).low_ms == pytest.approx(1000)
    assert cost(50, timed=False).high_ms > 0
    for headroom_mib in range(0, 60, 2):
        low, high = (cost(headroom_mib, timed=False)[at] for at in (1, 2))
        assert low <= cost(headroom_mib, timed=False).ms <= high
        timed = cost(headroom_mib)
        assert low <= timed.low_ms <= timed.ms <= timed.high_ms <= high


def test_a_board_with_less_memory_pays_what_the_shorter_one_is_known_to_cost() -> None:
    network = networks.load("ResNet-101")
    here = predict(network, DEVICE, SHIPPED)
    there = predict(network, devices.load("rpi3b_plus"), SHIPPED)
    work_ms = there.latency_ms - there.pressure_ms
    assert there.pressure_ms > here.pressure_ms
    assert there.low_ms >= (1 - SHIPPED.half_width_share) * work_ms + SHIPPED.pressure.paid_ms
    # Where its very time is known, no more than the fit's own error is left.
    assert here.high_ms - here.low_ms < 0.1 * here.latency_ms


def test_what_does_not_fit_is_predicted_for_a_board_with_more_memory() -> None:
    one = predict(networks.load("vgg16"), DEVICE, SHIPPED)
    assert not one.fits
    assert one.pressure_ms == 0


def test_boards_of_the_same_core_go_by_their_clock() -> None:
    network = networks.load("AlexNet")
    plus = predict(network, devices.load("rpi3b_plus"), SHIPPED)
    assert plus.latency_ms == pytest.approx(
        predict(network, DEVICE, SHIPPED).latency_ms * 1.2 / 1.4, rel=0.001
    )


def test_another_core_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no latency is known for rpi4b_2gb"):
        predict(networks.load("AlexNet"), devices.load("rpi4b_2gb"), SHIPPED)


def made_up(rates: Rates, names: list[str]) -> list[Observation]:
    counted = fit.count_all(
        [Observation(network=name, latency_ms=1.0) for name in names], DEVICE, "caffe-time"
    )
    return [
        Observation(network=name, latency_ms=one.predicted_ms(rates))
        for name, one in zip(names, counted, strict=True)
    ]


def test_known_rates_are_found_again() -> None:
    true = Rates(tile_mac_ns=0.7, access_ns=3.0)
    observed = made_up(true, ["AlexNet", "NIN", "MobileNet", "SqueezeNet V1.1", "GoogleNet"])
    found = fit.calibrate(
        observed, device=DEVICE, protocol="caffe-time", provenance="measured", source="made up"
    )
    assert found.rates.tile_mac_ns == pytest.approx(0.7)
    assert found.rates.access_ns == pytest.approx(3.0)
    assert found.half_width_share == pytest.approx(0, abs=1e-6)
    assert found.pressure.ms_per_mib is None


def test_rates_are_never_negative() -> None:
    observed = made_up(Rates(tile_mac_ns=1.0, access_ns=0.0), ["AlexNet", "NIN", "VGG 16"])
    faster = [replace(one, latency_ms=one.latency_ms * factor)
              for one, factor in zip(observed, (0.5, 1.0, 1.0), strict=True)]  # fmt: skip
    rates = fit.fit_rates(fit.count_all(faster, DEVICE, "caffe-time"))
    assert min(rates.tile_mac_ns, rates.access_ns) >= 0


def test_too_few_networks_are_refused() -> None:
    observed = made_up(Rates(tile_mac_ns=1, access_ns=1), ["AlexNet", "NIN", "GoogleNet"])
    with pytest.raises(InvalidInputError, match="3 networks with spare memory"):
        fit.calibrate(
            observed, device=DEVICE, protocol="caffe-time", provenance="paper", source="few"
        )


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    latency_rates.write(SHIPPED, path)
    assert factors.read(path) == SHIPPED
    assert json.loads(path.read_text())["provenance"] == "paper"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "is not latency rates"),
        ("{}", "is not latency rates"),
        ('{"format": 1}', "format: is not 2"),
        ('{"format": 2}', "device: Field required"),
    ],
)
def test_what_is_not_a_calibration_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rates.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message) as refused:
        factors.read(path)
    assert refused.value.line().startswith(f"{path}: ")
    assert "write them again: pibench calibrate" in refused.value.line()


PLACES = (
    ("device",), ("provenance",), ("source",), ("protocol",), ("half_width_share",),
    ("rates", "tile_mac_ns"), ("rates", "access_ns"), ("pressure", "onset_mib"),
    ("pressure", "ms_per_mib"), ("pressure", "edge_mib"), ("observations", 0, "network"),
    ("observations", 0, "latency_ms"), ("observations", 0, "at_the_edge"), ("rates",),
    ("pressure",), ("observations",), ("observations", 0),
)  # fmt: skip


TEXTS = {("source",), ("observations", 0, "network")}
WRONG = [
    pytest.param(place, value, id=f"{'.'.join(map(str, place))}={value!r}")
    for place in PLACES
    for value in ({}, [[]], "x", -1, float("nan"))
    if not (isinstance(value, str) and place in TEXTS)
]


@pytest.mark.parametrize(("place", "value"), WRONG)
def test_a_wrong_value_is_named_by_its_place(
    tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    data = json.loads(latency_rates.dumps(SHIPPED))
    holder = data
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    path = tmp_path / "rates.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InvalidInputError) as refused:
        factors.read(path)
    assert f"{path}: {place[0]}" in refused.value.line()


@pytest.mark.parametrize("rate", [0, 1e-300, 1e308])
@pytest.mark.parametrize("name", ["tile_mac_ns", "access_ns"])
def test_a_rate_that_no_board_has_is_refused(tmp_path: Path, name: str, rate: float) -> None:
    data = json.loads(latency_rates.dumps(SHIPPED))
    data["rates"][name] = rate
    path = tmp_path / "rates.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InvalidInputError, match=rf"rates\.{name}: Input should be"):
        factors.read(path)


@pytest.mark.parametrize("time_ms", [0, 5e-324, 1e13])
def test_a_time_that_no_network_takes_is_refused(tmp_path: Path, time_ms: float) -> None:
    data = json.loads(latency_rates.dumps(SHIPPED))
    data["observations"][0]["latency_ms"] = time_ms
    path = tmp_path / "rates.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InvalidInputError, match=r"observations\.0\.latency_ms: Input should be"):
        factors.read(path)


def test_times_that_determine_no_rate_are_refused() -> None:
    names = ["AlexNet", "NIN", "MobileNet", "SqueezeNet V1.1", "GoogleNet"]
    observed = made_up(Rates(tile_mac_ns=1, access_ns=0), names)
    with pytest.raises(InvalidInputError, match="the times determine no rate of accesses"):
        fit.calibrate(
            observed, device=DEVICE, protocol="caffe-time", provenance="measured", source="x"
        )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_times_are_not_validated(count: int) -> None:
    few = replace(SHIPPED, observations=SHIPPED.rated_on[:count])
    with pytest.raises(InvalidInputError, match=f"takes 4 times, and the calibration has {count}"):
        validation.validate(few)


def test_ranks() -> None:
    assert validation.rank_correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert validation.rank_correlation([1, 2, 3], [30, 20, 10]) == pytest.approx(-1)
    assert validation.rank_correlation([1, 2, 2, 3], [1, 2, 2, 3]) == pytest.approx(1)
    assert validation.rank_correlation([1, 1], [1, 2]) == 0


def test_each_network_is_planned_once_by_the_given_planner() -> None:
    planned: list[str] = []

    def counting(network: Network, **options: Any) -> Plan:
        planned.append(network.name)
        return plan(network, **options)

    names = ["AlexNet", "NIN", "Zynqnet"]
    found = predict_leave_one_out([networks.load(one) for one in names], SHIPPED, counting)
    assert planned == names
    assert found == predict_leave_one_out([networks.load(one) for one in names], SHIPPED)


def test_a_changed_network_does_not_replace_the_observed_one() -> None:
    changed = networks.load("AlexNet", batch=4)
    others = [networks.load("NIN")]
    with_changed = predict_leave_one_out([changed, *others], SHIPPED)
    assert with_changed[1] == predict_leave_one_out(others, SHIPPED)[0]


def test_rates_are_the_nonnegative_least_squares_of_scipy() -> None:
    import numpy as np
    from scipy.optimize import nnls

    counted = fit.count_all(latency_rates.shipped().rated_on, DEVICE, "caffe-time")
    random = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        sample = random.choice(len(counted), 4, replace=False)
        some = [
            replace(
                counted[index],
                tile_macs=float(counted[index].tile_macs * random.uniform(0.1, 10)),
                accesses=float(counted[index].accesses * random.uniform(0.1, 10)),
            )
            for index in sample
        ]
        rates = fit.fit_rates(some)
        rows = np.array([[one.tile_macs, one.accesses] for one in some])
        rows /= np.array([[1e6 * one.observation.latency_ms] for one in some])
        expected, _ = nnls(rows / rows.mean(axis=0), np.ones(4))
        assert [rates.tile_mac_ns, rates.access_ns] == pytest.approx(expected / rows.mean(axis=0))
        seen.add((rates.tile_mac_ns > 0, rates.access_ns > 0))
    assert len(seen) == 3
