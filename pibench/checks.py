"""The whole answer for one network: does it fit, how fast is it, and what would make it fit.

Nothing is run: memory is planned, time is predicted, and each change that would make the network
fit is planned too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from pibench import devices
from pibench.devices import MIB
from pibench.display import Displayed
from pibench.engines.caffe import CAFFE
from pibench.engines.registry import label_of
from pibench.errors import ExitCode, InvalidInputError
from pibench.judgements import check_time_limit, judge, judge_prediction, no_time
from pibench.latency import rates as latency_rates
from pibench.latency import stacks
from pibench.latency.model import predictor
from pibench.plan import answers
from pibench.plan.environment import of_device
from pibench.plan.planner import moved, plan
from pibench.plan.process import FLOAT_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pibench.devices import Device
    from pibench.engines.base import Protocol
    from pibench.engines.caffe.shapes import Shapes
    from pibench.judgements import Judgement, TimeJudgement
    from pibench.latency.model import Prediction
    from pibench.networks.network import Network
    from pibench.plan.environment import Environment
    from pibench.plan.planner import Plan

_STEP: Final = 32
"""Images are made smaller by multiples of this: the stride of most classifiers."""
_SMALLEST: Final = 32
_TRIES: Final = 4
"""How many image sizes are planned."""


class Remedy(NamedTuple):
    """A change with which the network fits, and its plan for a device.

    `change` is options of this command, or "fold-bn" (`pibench networks fold-bn`), or "in place"
    (layers that can overwrite their bottom do so), or several of these. `note` is what else is
    needed.
    """

    change: str
    device: Device
    planned: Plan
    judged: Judgement
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Check(Displayed):
    """The answer: true if the network fits, and its time is within the limit.

    `prediction` is None where there is none, for the reason in `not_predicted`.
    `judged_time` compares the prediction with a time limit, None without a limit.
    """

    device: Device
    planned: Plan
    judged: Judgement
    prediction: Prediction | None
    not_predicted: str
    remedies: tuple[Remedy, ...]
    judged_time: TimeJudgement | None = None

    def __bool__(self) -> bool:
        return self.exit_code == ExitCode.OK

    def __repr__(self) -> str:
        words = {"fit": "fits", "no-fit": "does not fit"}.get(
            self.judged.verdict, f"{self.judged.verdict} on"
        )
        peak, usable = self.planned.peak_rss_bytes / MIB, self.device.usable_bytes / MIB
        sizes = f"planned peak {peak:.0f} of {usable:.0f} MiB"
        facts = [f"{self.planned.network.name} {words} {self.device.id}: {sizes}"]
        if self.prediction is not None:
            facts.append(f"predicted {self.prediction.latency_ms:.0f} ms")
        if self.judged_time is not None:
            facts.append(str(self.judged_time))
        return f"<{'; '.join(facts)}>"

    @property
    def exit_code(self) -> ExitCode:
        """0 if the network fits, and its time is within the limit; 1 if one is not so; else 4."""
        fit = {"fit": ExitCode.OK, "no-fit": ExitCode.DISAGREEMENT}
        codes = [fit.get(self.judged.verdict, ExitCode.INCONCLUSIVE)]
        if self.judged_time is not None:
            codes.append(self.judged_time.exit_code)
        return ExitCode.of_all(codes)


def check(
    network: Network,
    device: Device,
    protocol: Protocol,
    engine: str = CAFFE.id,
    max_ms: float | None = None,
) -> Check:
    """Return the answer for a network on a device.

    Args:
        network: The network.
        device: The device.
        protocol: What is run.
        engine: The engine, as `--engine` takes it. Times are predicted for Caffe alone.
        max_ms: A limit of the predicted time of a forward pass, in ms.

    Raises:
        InvalidInputError: The engine would reject the network under this protocol, or the limit is
            not a time.
    """
    if max_ms is not None:
        check_time_limit(max_ms)
    environment = of_device(device, engine=engine)
    planned = plan(network, protocol=protocol, environment=environment)

    def plan_of(wanted: Network, *, protocol: Protocol, environment: Environment) -> Plan:
        same = (wanted, protocol, environment) == (network, planned.protocol, planned.environment)
        return planned if same else plan(wanted, protocol=protocol, environment=environment)

    judged = judge(planned, device)
    edge = latency_rates.shipped().pressure
    prediction, not_predicted = None, ""
    try:
        if not environment.is_caffe:
            raise InvalidInputError(
                f"times are predicted for Caffe, not for {label_of(engine)}",
                hint="run it on the board",
            )
        prediction = predictor(device, stacks.default_of(device.cpu), edge, protocol=protocol)(
            network, plan_of
        )
    except InvalidInputError as error:
        not_predicted = error.message
    judged_time = None
    if max_ms is not None:
        judged_time = (
            no_time(max_ms, not_predicted)
            if prediction is None
            else judge_prediction(prediction, max_ms)
        )
    remedies = () if judged.verdict == "fit" else tuple(_remedies(planned, device))
    return Check(
        device=device,
        planned=planned,
        judged=judged,
        prediction=prediction,
        not_predicted=not_predicted,
        remedies=remedies,
        judged_time=judged_time,
    )


def _remedies(planned: Plan, device: Device) -> Iterator[Remedy]:
    """Yield the changes with which the network fits, each planned."""
    network, protocol, environment = planned.network, planned.protocol, planned.environment

    def least_bytes(found: Shapes, under: Protocol, but: Collection[str] = ()) -> int:
        """Return the least peak, as far as it is known without another plan."""
        if not environment.is_caffe:
            return 0
        return answers.least_peak_bytes(found, under, environment, but=but)

    def tried(change: str, changed: Network | None, under: Protocol = protocol) -> Iterator[Remedy]:
        if changed is None:
            return
        try:
            if changed is network and environment.is_caffe:
                least = answers.least_forward_bytes(planned)
            elif changed is in_place:
                least = least_bytes(answers.shapes_in_place(network, changed), under)
            else:
                least = least_bytes(changed.shapes_under(under), under)
            if least > device.usable_bytes:
                return
            found = plan(
                changed, protocol=under, environment=environment, most_bytes=device.usable_bytes
            )
        except InvalidInputError:
            return
        judged = judge(found, device)
        if judged.verdict == "fit":
            yield Remedy(change, device, found, judged)

    in_place = folded = None
    # Both spare memory of BatchNorm and Scale alone, and are made to the test phase's network.
    found, norms = network.shapes, ("BatchNorm", "Scale")
    others_bytes = min(least_bytes(found, under, norms) for under in {protocol, "inference"})
    if found.phase == "TRAIN" or others_bytes <= device.usable_bytes:
        in_place, folded = answers.in_place(network), answers.folded(network)
    alone = [*tried("in place", in_place), *tried("fold-bn", folded)]
    if protocol == "caffe-time" and network.runs_under("inference"):
        forward = [*tried("--protocol inference", network, "inference")]
        folds = any(remedy.change == "fold-bn" for remedy in alone)
        both = (
            () if forward or folds else tried("fold-bn --protocol inference", folded, "inference")
        )
        alone = [*forward, *alone, *both]
    yield from alone
    if network.batch_under(protocol) > 1:
        largest = answers.max_batch(
            network, device=device, protocol=protocol, environment=environment
        )
        if largest.batch:
            yield from tried(f"--batch {largest.batch}", network.with_batch(largest.batch))
    note = "forward only" if protocol == "caffe-time" else ""
    for one in answers.other_engines(planned, device):
        yield Remedy(f"--engine {one.engine}", device, one.planned, one.judged, note)
    yield from _smaller_image(planned, device)
    reserve_bytes = device.reserve_bytes
    least = least_bytes(network.shapes_under(protocol), protocol)
    plans = {environment: planned}
    for other in sorted(map(devices.load, devices.names()), key=lambda one: one.usable_bytes):
        if other.usable_bytes > max(device.usable_bytes, least) + reserve_bytes:
            larger = other.with_reserve(reserve_bytes / MIB)
            there = of_device(larger, engine=environment.engine)
            if there not in plans:
                plans[there] = moved(planned, there)
            judged = judge(plans[there], larger)
            if judged.verdict == "fit":
                yield Remedy(f"--device {larger.id}", larger, plans[there], judged)
                return


def _smaller_image(planned: Plan, device: Device) -> Iterator[Remedy]:
    """Yield a smaller image that fits. Parameters that change with the image need other weights.

    What an image takes grows with its area. What fits is estimated from the line through what no
    image changes and the own size, then through the last two sizes that were planned.
    """
    network = planned.network
    try:
        height, width = network.image_size()
    except InvalidInputError:
        return
    longer = max(height, width)
    fixed_bytes = planned.baseline_rss_bytes + _unchanged_bytes(planned)
    below, above = (0, fixed_bytes), (longer**2, planned.peak_rss_bytes)
    steps, most = 0, (longer - _SMALLEST) // _STEP
    for _ in range(_TRIES):
        if steps >= most:
            return
        share = (device.usable_bytes - below[1]) / max(1, above[1] - below[1])
        fitting = math.sqrt(max(0.0, below[0] + share * (above[0] - below[0])))
        steps = min(most, max(steps + 1, math.ceil((longer - fitting) / _STEP)))
        side = longer - steps * _STEP
        size = (max(1, round(height * side / longer)), max(1, round(width * side / longer)))
        try:
            smaller = network.with_image_size(*size)
            other = network.other_parameters(smaller)
            if network.weights is not None and other:
                return
            found = plan(smaller, protocol=planned.protocol, environment=planned.environment)
        except InvalidInputError:
            return
        judged = judge(found, device)
        if judged.verdict == "fit":
            note = f"needs other weights of {next(iter(other))}" if other else ""
            yield Remedy(f"--input {size[0]}x{size[1]}", device, found, judged, note)
            return
        # From here on the line goes through the last two sizes.
        above = below if below[0] else above
        below = (side**2, found.peak_rss_bytes)


def _unchanged_bytes(planned: Plan) -> int:
    """Return the size of the parameters that have the same shape with every image."""
    found, depends = planned.network.shapes_under(planned.protocol), "InnerProduct"
    numbers = sum(
        math.prod(shape)
        for layer, shapes in zip(found.layers, found.weights, strict=True)
        if layer.type != depends
        for shape in shapes
    )
    if planned.protocol == "caffe-time":
        numbers += numbers - answers.frozen_count(found, but=(depends,))
    return FLOAT_BYTES * numbers
