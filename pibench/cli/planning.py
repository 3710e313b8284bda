"""`pibench plan`: load networks, plan them, print the plans; `--check` runs them too."""

from __future__ import annotations

import gc
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pibench import devices
from pibench.cli.loading import load_to_run
from pibench.cli.streams import ignore_broken_pipe, say
from pibench.errors import ExitCode, InvalidInputError
from pibench.plan import answers
from pibench.plan.environment import Environment, of_device, of_twin
from pibench.plan.planner import Plan, plan
from pibench.verdict.judgement import judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.crosscheck.planned import Comparison
    from pibench.devices import Device
    from pibench.networks.network import Network
    from pibench.records.schema import Protocol


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The options of `pibench plan` from the command line."""

    device: str = "rpi3b"
    target: str | None = None
    protocol: str = "caffe-time"
    weights: Path | None = None
    batch: int | None = None
    size: str | None = None
    repair: bool = False
    max_batch: bool = False
    max_input: bool = False
    timeline: bool = False
    what_if: bool = False
    plot: Path | None = None
    as_json: bool = False
    require_fit: bool = False
    out: tuple[Path, ...] = ()


def plan_networks(specs: Sequence[str], wishes: Wishes) -> ExitCode:
    """Plan all networks; exit code 1 if a network is required to fit and does not.

    The first network that cannot be planned ends the command, unless files are written: these
    contain the other networks and name the failed one. The exit code is then 2.
    """
    # Garbage collection takes a third of the time for tens of thousands of acyclic blobs and steps.
    gc.set_threshold(1_000_000)
    _refuse_without_check(specs, wishes)
    device = devices.load(wishes.device)
    _check_plot(specs, wishes)
    if wishes.out:
        from pibench.report import cases

        cases.writable(wishes.out, [Path(spec) for spec in specs])
    plans, refused = _plan_each(specs, device, wishes)
    # A single network gets the detailed output.
    alone = len(specs) == 1 and not wishes.as_json
    wishes = replace(wishes, what_if=wishes.what_if or alone)
    said = [_answer(planned, device, wishes) for planned in plans]
    if wishes.plot is not None and plans:
        _write_plot(wishes.plot, plans[0], device)
    if wishes.out:
        why = {spec: error.line() for spec, error in refused.items()}
        cases.write(cases.of_plans(said, device, wishes.protocol, why), wishes.out)
    with ignore_broken_pipe():
        if wishes.as_json:
            print(json.dumps(said, indent=2))
        elif plans:
            _print(said, plans, in_full=alone)
    for error in refused.values():
        say(error.line())
    if refused:
        return ExitCode.INVALID_INPUT
    verdicts = {answer["verdict"] for answer in said}
    return ExitCode.DISAGREEMENT if wishes.require_fit and verdicts != {"fit"} else ExitCode.OK


def _plan_each(
    specs: Sequence[str], device: Device, wishes: Wishes
) -> tuple[list[Plan], dict[str, InvalidInputError]]:
    """Return the plans and the failures; raise at once if no output file can name a failure."""
    protocol = cast("Protocol", wishes.protocol)
    loaded: list[tuple[str, Network]] = []
    refused: dict[str, InvalidInputError] = {}
    for spec in specs:
        try:
            loaded += [(spec, network) for network in _load([spec], wishes)]
        except InvalidInputError as error:
            if not wishes.out:
                raise
            refused[spec] = error
    environment = _of_twin_here(device) if wishes.target == "twin" else of_device(device)
    plans = []
    for spec, network in loaded:
        try:
            plans.append(plan(network, protocol=protocol, environment=environment))
        except InvalidInputError as error:
            if not wishes.out:
                raise
            refused[spec] = error
    return plans, refused


def check_plans(specs: Sequence[str], wishes: Wishes, *, jobs: int | None, quiet: bool) -> ExitCode:
    """Run the networks too and print planned beside measured peaks.

    They run on the twin unless another target is given. Networks that are
    killed there have no measured peak to compare.

    Raises:
        HostError: if the target cannot run.
    """
    from pibench.cli.sweeping import sweep
    from pibench.crosscheck import planned as comparing
    from pibench.runner.options import Options

    _refuse_with_check(wishes)
    device = devices.load(wishes.device)
    loaded = _load(specs, wishes)
    records = sweep(
        loaded,
        Options(
            device=wishes.device,
            target=wishes.target or "twin",
            protocol=cast("Protocol", wishes.protocol),
            jobs=jobs,
        ),
        quiet=quiet,
    )
    rows = []
    for network, record in zip(loaded, records, strict=True):
        environment = comparing.environment_of(record, device)
        planned = plan(network, protocol=record.protocol, environment=environment)
        rows.append(comparing.compare(record, planned))
    with ignore_broken_pipe():
        _print_comparison(rows, loaded, as_json=wishes.as_json)
    told = any(row.error is not None for row in rows) or all(row.agrees for row in rows)
    return ExitCode.OK if told else ExitCode.INCONCLUSIVE


def _refuse_with_check(wishes: Wishes) -> None:
    asked = {
        "--max-batch": wishes.max_batch,
        "--max-input": wishes.max_input,
        "--what-if": wishes.what_if,
        "--timeline": wishes.timeline,
        "--plot": wishes.plot is not None,
        "--require-fit": wishes.require_fit,
        "--out": bool(wishes.out),
    }
    for option, given in asked.items():
        if given:
            raise InvalidInputError(
                f"{option} belongs to a plan, and --check compares one with a run",
                hint="ask for them one after the other",
            )


def _refuse_without_check(specs: Sequence[str], wishes: Wishes) -> None:
    """Reject options that would be ignored, and weights whose network is ambiguous."""
    if wishes.weights is not None and len(specs) != 1:
        raise InvalidInputError(
            f"--weights {wishes.weights} goes with one network, and {len(specs)} were given",
            hint="plan them one at a time",
        )
    if wishes.target not in (None, "twin"):
        raise InvalidInputError(
            f"--target {wishes.target} says where --check runs, and a plan runs nothing",
            hint="add --check, or leave --target out: plans are for the device (or the twin)",
        )
    if wishes.timeline and not wishes.as_json:
        raise InvalidInputError(
            "--timeline is printed as JSON alone", hint="add --json, or take --plot FILE.svg"
        )


def _of_twin_here(device: Device) -> Environment:
    """Return the twin's environment on this machine, with OpenBLAS's kernels for the CPU.

    Raises:
        HostError: if the twin cannot run.
    """
    from pibench.images.build import Builder
    from pibench.targets.local import TwinTarget

    twin = TwinTarget(Builder(say))
    # OpenBLAS starts a thread for each core in its affinity mask, whatever the CPU quota is.
    return of_twin(device, twin.blas_core(), len(os.sched_getaffinity(0)))


def _load(specs: Sequence[str], wishes: Wishes) -> list[Network]:
    return load_to_run(
        specs,
        cast("Protocol", wishes.protocol),
        weights=wishes.weights,
        batch=wishes.batch,
        size=wishes.size,
        repair=wishes.repair,
        otherwise="plan them one at a time",
    )


def _answer(planned: Plan, device: Device, wishes: Wishes) -> dict[str, Any]:
    answer = answers.summary(planned, device, judge(planned, device))
    if wishes.timeline:
        answer["timeline"] = answers.timeline(planned)
    if wishes.what_if:
        answer["changes"] = answers.changes(planned)
    if wishes.max_batch:
        answer |= answers.largest_batch(planned, device)
    if wishes.max_input:
        answer |= answers.largest_image(planned, device)
    return answer


def _print(said: Sequence[dict[str, Any]], plans: Sequence[Plan], *, in_full: bool) -> None:
    from pibench.report.planned import names_of, plan_table, print_details
    from pibench.report.terminal import console

    out = console()
    out.print(plan_table(said))
    for name, answer, planned in zip(names_of(said), said, plans, strict=True):
        if in_full or {"changes", "max_batch", "max_input"} & answer.keys():
            print_details(name, answer, planned.steps, out)


def _print_comparison(
    rows: Sequence[Comparison], loaded: Sequence[Network], *, as_json: bool
) -> None:
    from pibench.crosscheck import planned as comparing

    if as_json:
        print(json.dumps([vars(row) for row in rows], indent=2))
        return
    from pibench.records.identity import network_labels
    from pibench.report.planned import comparison_table
    from pibench.report.terminal import console

    out = console()
    out.print(comparison_table(rows, network_labels(loaded)))
    out.print(comparing.summary(rows))


def _check_plot(specs: Sequence[str], wishes: Wishes) -> None:
    if wishes.plot is None:
        return
    if len(specs) != 1:
        raise InvalidInputError(
            f"--plot {wishes.plot} shows one network, and {len(specs)} were given",
            hint="plan them one at a time",
        )
    if wishes.plot.suffix.lower() != ".svg":
        raise InvalidInputError(
            f"--plot {wishes.plot}: pictures are written as SVG", hint="end the name in .svg"
        )


def _write_plot(path: Path, planned: Plan, device: Device) -> None:
    from pibench.atomic_write import write_whole
    from pibench.report.plots import memory_over_layers

    batch = planned.network.batch_under(planned.protocol)
    title = f"{planned.network.name}, {planned.protocol}, batch {batch}"
    text = memory_over_layers(title, planned.steps, usable_bytes=device.usable_bytes)
    write_whole(path, text)
