"""The time of a record's run on its board, predicted for the software that the record names.

Reports and `pibench reconcile` predict with it, so that a record has one prediction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pibench.errors import InvalidInputError
from pibench.latency import rates, stacks
from pibench.latency.model import UNKNOWN, predict, predictor
from pibench.plan.planner import plan

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.latency.model import Prediction
    from pibench.latency.pressure import Planner
    from pibench.networks.network import Network
    from pibench.records.schema import Record


def stack_of(record: Record) -> str | None:
    """Return the stack of a record that a board measured, by its BLAS; None for other records.

    `unknown` is for a BLAS of no known stack.
    """
    guest = record.environment.guest
    if not record.ran_on_board or record.compute != "real":
        return None
    cpu = record.device_profile.cpu
    known = stacks.of_blas(guest.blas_name, guest.blas_core_type, guest.architecture, cpu)
    return known or UNKNOWN


def threads_of(record: Record) -> int:
    """Return the BLAS threads of a record, at most the cores of its device."""
    cores = record.device_profile.cores
    known = record.limits.in_force.threads or record.environment.guest.blas_threads
    return min(known or cores, cores)


def is_known_for(stack: str, device: Device) -> bool:
    """Return whether a stack's times are known on a device."""
    return device.cpu == stacks.load(stack).cpu and device.memory is not None


def predict_as_run(
    record: Record, network: Network, stack: str, plan_of: Planner = plan
) -> Prediction:
    """Predict a record's run with its threads and its data on its device.

    `stack` is a stack's name, `unknown` for the range of all, or `paper` for the fitted rates;
    `plan_of` plans the network, and a caller may keep the plans.

    Raises:
        InvalidInputError: There is no such stack, or it is not known for the device; or the range
            of all is not that of the record's BLAS, which none of the stacks of its core has.
    """
    device, shipped = record.device_profile, rates.shipped()
    if stack == "paper":
        return predict(network, device, shipped, plan_of=plan_of)
    blas = record.environment.guest.blas_name
    if stack == UNKNOWN and blas and not stacks.has_slowest(device.cpu):
        raise InvalidInputError(
            f"no latency is known for {blas} on a {device.cpu}",
            hint=f"name a stack that is like it: {', '.join(stacks.of_cpu(device.cpu))}",
        )
    of_stack = predictor(
        device,
        stack,
        shipped.pressure,
        threads=threads_of(record),
        data="zeros" if record.protocol == "caffe-time" else "images",
        protocol=record.protocol,
    )
    return of_stack(network, plan_of=plan_of)
