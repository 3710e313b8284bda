"""`pibench plan`: plan the peak memory of networks; `--check` runs them too and compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pibench.cli import options as opt
from pibench.cli.output import check_svg, ignore_broken_pipe, print_json, say, write_svg
from pibench.errors import ExitCode, InvalidInputError
from pibench.setups import DEFAULT, Setup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.devices import Device
    from pibench.plan.environment import Environment
    from pibench.plan.planner import Plan
    from pibench.runner.options import RunOptions

ONE_BY_ONE = "plan them one at a time"
_TARGET = "Where --check runs (default: twin). Without --check, twin plans for the twin."


def plan(
    context: typer.Context,
    specs: opt.Specs,
    device: opt.DeviceName = "rpi3b",
    protocol: opt.EngineProtocol = None,
    engine: opt.PlannedEngine = None,
    reserve: opt.Reserve = 0,
    setup: opt.SetupName = DEFAULT,
    weights: Path | None = opt.value(
        "Weights that have to fit, at every size that --max-input tries."
    ),
    batch: opt.Batch = None,
    input_size: opt.ImageSize = None,
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
    shape: opt.PythonShapes = None,
    max_batch: bool = opt.switch("--max-batch", "Search the largest batch that fits."),
    max_input: bool = opt.switch("--max-input", "Search the largest image that fits."),
    what_if: bool = opt.switch(
        "--what-if", "Show what changes would save; always for one network."
    ),
    timeline: bool = opt.switch("--timeline", "With --json: what is resident at every step."),
    plot: Path | None = opt.value("Write memory over layers to this SVG file."),
    check: bool = opt.switch("--check", "Run the networks too, and compare."),
    target: str | None = opt.value(
        _TARGET, metavar="TARGET", parser=opt.target_spec, **opt.variable("target")
    ),
    require_fit: opt.RequireFit = False,
    out: opt.PlanOut = None,
    jobs: opt.Jobs = None,
    quiet: opt.Quiet = False,
    as_json: opt.AsJson = False,
) -> None:
    """Plan the peak memory of networks from their prototxt, without running them.

    Example: pibench plan my/deploy.prototxt --protocol inference --max-batch
    """
    import gc

    from pibench.plan.planner import plan as plan_network

    specs, weights = opt.with_weights(specs, weights)
    engine, protocol = opt.engine_and_protocol(locals(), specs)
    # A setting is where networks run; a plan for the twin is asked for by the option.
    target = None if "target" in opt.settings_of(context) and not check else target
    options = opt.run_options(locals() | {"target": target or "twin"})
    if check:
        given = locals()
        for name in ("shape", "max_batch", "max_input", "what_if", "timeline", "plot",
                     "require_fit", "out"):  # fmt: skip
            if given[name]:
                raise InvalidInputError(
                    f"--{name.replace('_', '-')} is for a plan, but --check compares a plan with "
                    "a run",
                    hint="run pibench twice: with --check and without",
                )
        raise typer.Exit(_check(specs, options, quiet=quiet, as_json=as_json))
    # Garbage collection takes a third of the time for tens of thousands of acyclic blobs and steps.
    gc.disable()
    _refuse_without_check(specs, weights, target, plot)
    if timeline and not as_json:
        raise InvalidInputError(
            "--timeline is printed as JSON only", hint="add --json, or use --plot FILE.svg"
        )
    if out:
        from pibench.report import badge, cases, trace

        cases.writable(out, [Path(spec) for spec in specs], (badge.ENDING, trace.ENDING))
    profile = options.profile
    environment = _environment(profile, engine, setup, on_twin=target == "twin")
    planned_networks, refused = opt.answer_each(
        specs,
        options,
        lambda network: plan_network(network, protocol=options.protocol, environment=environment),
        go_on=bool(out) or len(specs) > 1,
        shape=shape,
        hint=ONE_BY_ONE,
    )
    plans = [planned for _, planned in planned_networks]
    # A single network gets the detailed output.
    in_full = len(specs) == 1 and not as_json
    wanted = {
        "timeline": timeline,
        "changes": what_if or in_full,
        "other_engines": what_if or in_full,
        "max_batch": max_batch,
        "max_input": max_input,
    }
    rows = [_row(planned, profile, wanted) for planned in plans]
    if plot is not None and plans:
        from pibench.report.plots import memory_over_layers

        write_svg(plot, memory_over_layers(plans[0], profile))
    if out:
        why = {spec: error.line() for spec, error in refused.items()}
        others = {
            badge.ENDING: lambda: badge.of_plans(rows, profile, why).svg(),
            trace.ENDING: lambda: trace.trace_text(plans, profile),
        }
        cases.write(cases.of_plans(rows, profile, protocol, why), out, others)
    if as_json:
        print_json(rows)
    elif plans:
        with ignore_broken_pipe():
            _print(rows, plans, in_full=in_full)
    for error in refused.values():
        say(error.line())
    if refused:
        raise typer.Exit(ExitCode.INVALID_INPUT)
    if require_fit and {row["verdict"] for row in rows} != {"fit"}:
        raise typer.Exit(ExitCode.DISAGREEMENT)


def _refuse_without_check(
    specs: Sequence[str], weights: Path | None, target: str | None, plot: Path | None
) -> None:
    """Reject options that would be ignored, and files whose network is ambiguous."""
    if weights is not None and len(specs) != 1:
        raise InvalidInputError(
            f"--weights {weights} is for one network, but {len(specs)} were given", hint=ONE_BY_ONE
        )
    if target not in (None, "twin"):
        raise InvalidInputError(
            f"--target {target} is where --check runs, but a plan runs nothing",
            hint="add --check, or omit --target: plans are for the device (or the twin)",
        )
    if plot is None:
        return
    if len(specs) != 1:
        raise InvalidInputError(
            f"--plot {plot} shows one network, but {len(specs)} were given", hint=ONE_BY_ONE
        )
    check_svg(plot)


def _check(specs: Sequence[str], options: RunOptions, *, quiet: bool, as_json: bool) -> ExitCode:
    """Run the networks too and print planned beside measured peaks.

    Networks that are killed have no measured peak to compare.
    """
    from pibench.cli.run import run_with_progress
    from pibench.crosscheck import planned as comparing
    from pibench.plan.environment import of_device
    from pibench.plan.planner import plan as plan_network
    from pibench.records.identity import network_labels
    from pibench.report.estimates import comparison_table
    from pibench.report.tables import console
    from pibench.target_kinds import kind_of_spec

    device = options.profile
    loaded = opt.load_networks(specs, options, hint=ONE_BY_ONE)
    if options.engine != "caffe":
        # Before the runs, which take minutes: is there a plan to compare with?
        built_for = kind_of_spec(options.target).architecture or "arm64"
        there = replace(of_device(device, engine=options.engine), architecture=built_for)
        for network in loaded:
            plan_network(network, protocol=options.protocol, environment=there)
        # Plans of other engines are of one pass, the one that the outputs need.
        options = replace(options, repeats=0)
    records = run_with_progress(loaded, options, quiet=quiet)
    rows = []
    for network, record in zip(loaded, records, strict=True):
        environment = comparing.environment_of(record, device)
        planned = plan_network(network, protocol=record.protocol, environment=environment)
        rows.append(comparing.compare(record, planned))
    if as_json:
        print_json([vars(row) for row in rows])
    else:
        out = console()
        with ignore_broken_pipe():
            out.print(comparison_table(rows, network_labels(loaded)))
            out.print(comparing.summary(rows))
    decided = any(row.error is not None for row in rows) or all(row.agrees for row in rows)
    return ExitCode.OK if decided else ExitCode.INCONCLUSIVE


def _environment(device: Device, engine: str, setup: Setup, *, on_twin: bool) -> Environment:
    """Return the device's environment, or the twin's on this machine with its OpenBLAS kernels."""
    import os

    from pibench.plan.environment import of_device, of_twin

    board = of_device(device, setup, engine)
    if setup != DEFAULT and not board.is_caffe:
        raise InvalidInputError(
            f"--setup {setup} is a configuration of Caffe's BLAS", hint="omit it, or --engine"
        )
    if not on_twin:
        return board
    from pibench.images.build import Builder
    from pibench.targets.local import TwinTarget

    # OpenBLAS starts a thread for each core in its affinity mask, whatever the CPU quota is.
    twin = of_twin(device, TwinTarget(Builder(say)).blas_core(), len(os.sched_getaffinity(0)))
    return replace(twin, setup=setup, engine=engine)


def _row(planned: Plan, device: Device, wanted: dict[str, bool]) -> dict[str, Any]:
    from pibench.judgements import judge
    from pibench.plan import answers

    row = answers.summary(planned, device, judge(planned, device))
    if wanted["timeline"]:
        row["timeline"] = answers.timeline(planned)
    if wanted["changes"]:
        row["changes"] = answers.changes(planned)
    if wanted["other_engines"] and row["verdict"] != "fit":
        row["fits_with_engines"] = answers.other_engines_as_dicts(planned, device)
    if wanted["max_batch"]:
        row |= answers.largest_batch(planned, device)
    if wanted["max_input"]:
        row |= answers.largest_image(planned, device)
    return row


def _print(rows: Sequence[dict[str, Any]], plans: Sequence[Plan], *, in_full: bool) -> None:
    from pibench.report.estimates import names_of, plan_table, print_details
    from pibench.report.tables import console
    from pibench.report.text import usable_memory

    out = console()
    out.print(plan_table(rows))
    usable_bytes, reserve_bytes = rows[0]["usable_bytes"], rows[0]["reserve_bytes"]
    if reserve_bytes:
        out.print(f"Usable: {usable_memory(usable_bytes, reserve_bytes)}.")
    if not plans[0].environment.is_caffe:
        out.print("Planned for one pass; later ones can take more.")
    for name, row, planned in zip(names_of(rows), rows, plans, strict=True):
        if in_full or {"changes", "max_batch", "max_input"} & row.keys():
            print_details(name, row, planned.steps, out)
