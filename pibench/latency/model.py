"""Turn counted work into milliseconds: a sum over layers, and an interval.

`predict_by_stack` takes a layer's time from the machine code of a software stack and the board's
memory (`pibench.latency.analytic`). `predict` takes two rates that were fitted to times of a board:
there a layer takes the time of its products' register tiles, at the multiply-accumulates per second
that BLAS reaches on the cores, plus the time of its element accesses, at the rate of Caffe's plain
loops. Copying operands into panels and entering BLAS count as accesses too, so that small and
grouped products are slow without a separate term. No layer is faster than its least traffic at the
memory's full speed. `pibench.latency.pressure` adds the cost of memory shortage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from pibench import devices
from pibench.display import Displayed
from pibench.errors import InvalidInputError
from pibench.latency import pressure, stacks, work
from pibench.latency.analytic import Configuration, Parts
from pibench.latency.work import counted_work
from pibench.plan.planner import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pibench.counting import NetworkCounts
    from pibench.devices import Device
    from pibench.engines.base import Protocol
    from pibench.latency.analytic import Data
    from pibench.latency.factors import StackFactors
    from pibench.latency.rates import LatencyRates, Pressure, Rates
    from pibench.latency.work import LayerWork
    from pibench.networks.network import Network

_NS_PER_MS: Final = 1e6
UNKNOWN: Final = "unknown"
"""The name of a stack that may be any of the known ones."""
MEMORY_BYTES_PER_S: Final = 3.6e9
"""Peak of the Raspberry Pi 3's LPDDR2: 32 bits at 900 million transfers a second."""
MACS_PER_CYCLE: Final = 4
"""Of one Cortex-A53: fmla v.4s, four single-precision lanes, issues once a cycle.

Measured on a Raspberry Pi 3 (ocxtal/insn_bench_aarch64, results/raspberry-pi-3_cortex-a53.md).
"""


@dataclass(frozen=True, kw_only=True)
class LayerPrediction:
    """One layer: its predicted time and the work behind it."""

    work: LayerWork
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class Prediction(Displayed):
    """A forward pass on a device, in ms: 90 % of networks are expected within low and high.

    `protocol` is the calibration's, or inference for a network that cannot run under that one.
    `pressure_ms`, part of the latency, is the cost of the edge of memory and belongs to no layer;
    if it is not 0, low and high include its bounds too (`pibench.latency.pressure`). `fits` states
    whether the plan is within the memory; if not, the time is for a board with more.
    """

    network: str
    device: str
    protocol: Protocol
    latency_ms: float
    low_ms: float
    high_ms: float
    pressure_ms: float
    headroom_bytes: int
    layers: Sequence[LayerPrediction]
    stack: str | None = None
    threads: int | None = None
    data: Data | None = None
    factors: StackFactors | None = None

    def __repr__(self) -> str:
        low, high = self.low_ms, self.high_ms
        return (
            f"<{self.network}: predicted {self.latency_ms:.0f} ms ({low:.0f} to {high:.0f}) on "
            f"{self.device}, {self.protocol}>"
        )

    @property
    def fits(self) -> bool:
        """Return whether the planned peak is within the device's memory."""
        return self.headroom_bytes >= 0

    @property
    def software(self) -> str:
        """Return what the time is predicted for, to follow "predicted"."""
        if self.stack in (None, "paper"):
            return "by rates fitted on a board's times"
        named = "any known stack" if self.stack == UNKNOWN else f"stack {self.stack}"
        return f"for {named}, {self.threads} thread{'s' if self.threads != 1 else ''}"

    @property
    def range_ms(self) -> tuple[float, float] | None:
        """Return what the time may be with any stack; None where the stack is known."""
        return (self.low_ms, self.high_ms) if self.stack == UNKNOWN else None


def predict(
    network: Network,
    device: Device,
    calibration: LatencyRates,
    counted: NetworkCounts | None = None,
    plan_of: pressure.Planner = plan,
) -> Prediction:
    """Predict the latency of one forward pass of `network` on `device`.

    Args:
        network: The network.
        device: The board; it must have the CPU of the rates.
        calibration: The rates.
        counted: Counts of the network, under the prediction's protocol; without them the work
            comes from layer shapes.
        plan_of: Plans the network, as `planner.plan` does; a caller may keep the plans.

    Raises:
        InvalidInputError: There are no rates for the CPU, or Caffe would reject the
            network in either phase.
    """
    slower = calibration.clock_ratio(device)
    protocol, headroom = _protocol_and_headroom(network, device, calibration.protocol, plan_of)
    done = work.count(network, protocol)
    if counted is not None:
        done = counted_work(done, counted)
    layers = [
        LayerPrediction(work=one, latency_ms=layer_ms(one, calibration.rates, slower))
        for one in done
    ]
    busy_ms = sum(layer.latency_ms for layer in layers)
    timed = device.id == calibration.device and calibration.has_timed(network)
    edge = pressure.cost(headroom, device, calibration.pressure, timed=timed)
    share = calibration.half_width_share
    return Prediction(
        network=network.name,
        device=device.id,
        protocol=protocol,
        latency_ms=busy_ms + edge.ms,
        low_ms=busy_ms * max(0.0, 1 - share) + edge.low_ms,
        high_ms=busy_ms * (1 + share) + edge.high_ms,
        pressure_ms=edge.ms,
        headroom_bytes=headroom,
        layers=layers,
        stack="paper" if calibration.provenance == "paper" else None,
    )


def predict_by_stack(
    network: Network,
    configuration: Configuration,
    edge_of_memory: Pressure,
    protocol: Protocol = "caffe-time",
    plan_of: pressure.Planner = plan,
) -> Prediction:
    """Predict the latency of one forward pass from a stack's machine code; nothing is fitted.

    Args:
        network: The network.
        configuration: The stack, the board, its threads, the kind of data, and the board's factors.
        edge_of_memory: What the edge of the board's memory costs.
        protocol: The phase; inference for a network that has only that.
        plan_of: Plans the network, as for `predict`.

    Raises:
        InvalidInputError: The stack is not known for the board, or Caffe would reject the network
            in either phase.
    """
    device = configuration.device
    _ = configuration.memory
    protocol, headroom = _protocol_and_headroom(network, device, protocol, plan_of)
    done = work.count(network, protocol)
    parts = [configuration.parts(one) for one in done]
    layers = [
        LayerPrediction(work=one, latency_ms=of_layer.ms)
        for one, of_layer in zip(done, parts, strict=True)
    ]
    total = Parts(*map(sum, zip(*parts, strict=True)))
    less_ms, more_ms = configuration.bounds_ms(total)
    edge = pressure.cost(headroom, device, edge_of_memory)
    return Prediction(
        network=network.name,
        device=device.id,
        protocol=protocol,
        latency_ms=total.ms + edge.ms,
        low_ms=max(0.0, total.ms - less_ms) + edge.low_ms,
        high_ms=total.ms + more_ms + edge.high_ms,
        pressure_ms=edge.ms,
        headroom_bytes=headroom,
        layers=layers,
        stack=configuration.stack.id,
        threads=configuration.threads,
        data=configuration.data,
        factors=configuration.factors,
    )


def predictor(
    device: Device,
    stack: str,
    edge_of_memory: Pressure,
    *,
    threads: int | None = None,
    data: Data | None = None,
    protocol: Protocol = "caffe-time",
    factors: StackFactors | None = None,
) -> Callable[..., Prediction]:
    """Return a function that predicts a network for a stack; `plan_of` may be given too.

    Args:
        device: The board.
        stack: A stack's name, or "unknown" for the range of all, and of all kinds of data.
        edge_of_memory: What the edge of the board's memory costs.
        threads: The BLAS threads; None is the device's cores.
        data: What the input holds; None is zeros under caffe-time, which feeds them, else images.
        protocol: The protocol.
        factors: What a board's own times make of its stack, which replaces `stack`; they also have
            the threads and, for the same protocol, the data that are not given.

    Raises:
        InvalidInputError: There is no such stack, or the device has fewer cores than `threads`.
    """
    if factors is not None:
        stack, threads = factors.stack, threads or factors.threads
        data = data or (factors.data if protocol == factors.protocol else None)
    if threads is not None and threads > device.cores:
        raise InvalidInputError(
            f"{device.id} has {device.cores} cores, and --threads asks for {threads}",
            hint="threads beyond the cores only wait for each other",
        )
    kinds: tuple[Data, ...] = (data or ("zeros" if protocol == "caffe-time" else "images"),)
    names: tuple[str, ...] = (stack,)
    if stack == UNKNOWN:
        names = stacks.of_cpu(device.cpu)
        kinds = kinds if data else ("zeros", "images")
    configurations = [
        Configuration(
            stack=stacks.load(name),
            device=device,
            threads=threads or device.cores,
            data=kind,
            factors=factors,
        )
        for name in names
        for kind in kinds
    ]

    def predict_one(network: Network, plan_of: pressure.Planner = plan) -> Prediction:
        keeping = cache(plan_of)
        found = [
            predict_by_stack(network, configuration, edge_of_memory, protocol, keeping)
            for configuration in configurations
        ]
        return of_any_stack(found) if stack == UNKNOWN else found[0]

    return predict_one


def of_any_stack(predictions: Sequence[Prediction]) -> Prediction:
    """Return one prediction from those of several stacks: the middle one, with the range of all."""
    middle = sorted(predictions, key=lambda one: one.latency_ms)[len(predictions) // 2]
    return replace(
        middle,
        low_ms=min(one.low_ms for one in predictions),
        high_ms=max(one.high_ms for one in predictions),
        stack=UNKNOWN,
        data=None,
    )


def basis(prediction: Prediction, calibration: LatencyRates) -> str:
    """Return what a prediction rests on: fitted rates, or the machine code of a stack."""
    if prediction.stack in (None, "paper"):
        return (
            f"rates of {calibration.device} fitted on {calibration.source} "
            f"({calibration.provenance})"
        )
    return f"{_software(prediction)}; {prediction.factors or 'no rate is fitted'}"


def _software(prediction: Prediction) -> str:
    threads = f"{prediction.threads} thread{'s' if prediction.threads != 1 else ''}"
    if prediction.stack is None or prediction.stack == UNKNOWN:
        known = stacks.of_cpu(devices.load(prediction.device).cpu)
        return f"any of the stacks {', '.join(known)}, {threads}"
    stack = stacks.load(prediction.stack)
    return f"stack {stack.id}: {stack.title}, loops of Caffe as at -{stack.loops_level}, {threads}"


def _protocol_and_headroom(
    network: Network, device: Device, protocol: Protocol, plan_of: pressure.Planner
) -> tuple[Protocol, int]:
    """Return the protocol under which a network runs, and the memory it then leaves in bytes."""
    try:
        return protocol, pressure.headroom_bytes(network, device, protocol, plan_of)
    except InvalidInputError:
        # `caffe time` also needs a backward pass, and the sources of the training phase.
        if protocol != "inference" and network.runs_under("inference"):
            protocol = "inference"
        else:
            plan_of = partial(plan_of, backward=False)
        return protocol, pressure.headroom_bytes(network, device, protocol, plan_of)


def layer_ms(done: LayerWork, rates: Rates, slower: float = 1.0) -> float:
    """Return the time of one layer in ms.

    `slower` is the ratio of clocks, 1.0 on the calibrated board.
    """
    busy_ns = rates.tile_mac_ns * done.tile_macs + rates.access_ns * all_accesses(done)
    least_ms = 1e3 * done.moved_bytes / MEMORY_BYTES_PER_S
    return max(slower * busy_ns / _NS_PER_MS, least_ms)


def all_accesses(done: LayerWork) -> float:
    """Return the element accesses, including the equivalent of entering the layer and BLAS."""
    return done.accesses + work.cost_model().call * done.calls
