"""`pibench count`: what real Caffe executes in QEMU, and the cycles that a core takes for it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pibench import devices
from pibench.cli import options as opt
from pibench.cli.output import ignore_broken_pipe, print_json, say
from pibench.errors import InvalidInputError
from pibench.latency import stacks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pibench.counting import NetworkCounts
    from pibench.crosscheck.cycles import Times
    from pibench.devices import Device
    from pibench.engines.base import Protocol
    from pibench.networks.network import Network
    from pibench.report.tables import Table


def count(
    specs: opt.Specs,
    device: str = typer.Option(
        "rpi3b", metavar="NAME", help="The device whose CPU executes.", **opt.variable("device")
    ),
    batch: opt.Batch = None,
    repair: opt.Repair = False,
    repair_as_paper: opt.RepairAsPaper = False,
    stack: str | None = opt.value(
        f"The stack whose BLAS Caffe runs with, one of arm64. Default: {stacks.DEFAULT} "
        "or that of the device's core.",
        metavar="NAME",
    ),
    cycles: bool = opt.switch(
        "--cycles", "Issue the blocks that ran, by the core's rules, and compare with predict."
    ),
    cache_model: Annotated[
        bool | None,
        opt.flag(
            "--cache-model/--no-cache-model",
            help="Model the core's data caches too, which takes longer. Default: unless --cycles.",
        ),
    ] = None,
    per_layer: bool = opt.switch("--per-layer", "Show each layer's counts too."),
    quiet: opt.Quiet = False,
    as_json: opt.AsJson = False,
) -> None:
    """Count the instructions of a forward pass, executed by real Caffe in QEMU.

    Takes seconds to minutes per network; counts never change, so they are cached.

    Example: pibench count "SqueezeNet V1.1" --per-layer
    """
    options = opt.run_options(
        {"batch": batch, "repair": repair, "repair_as_paper": repair_as_paper}
    )
    loaded = opt.load_networks(specs, options, check=False)
    protocols: list[Protocol] = [
        "caffe-time" if network.runs_under("caffe-time") else "inference" for network in loaded
    ]
    profile = devices.load(device)
    named_stack = stack or stacks.default_of(profile.cpu)
    blas = stacks.load(named_stack).preloaded
    if blas is None:
        raise InvalidInputError(
            f"pibench's image has no BLAS of stack {named_stack}",
            hint=f"count with one of {', '.join(_preloaded())}",
        )
    if cycles:
        from pibench.crosscheck.cycles import compared
        from pibench.latency.analytic import Configuration

        # Counting takes minutes; this is known before.
        _ = Configuration(
            stack=stacks.load(named_stack), device=profile, threads=1, data="images"
        ).memory
    counted = counts_of(
        loaded,
        protocols,
        profile,
        quiet=quiet,
        cache_model=not cycles if cache_model is None else cache_model,
        cycles=cycles,
        blas=blas[0],
        blas_core=blas[1] if stack else None,
    )
    from pibench.records.identity import network_labels

    labels = network_labels(loaded)
    if cycles:
        of_networks = [
            compared(network, found, profile, named_stack, protocol)
            for network, found, protocol in zip(loaded, counted, protocols, strict=True)
        ]
        if as_json:
            print_json([*map(_as_json, counted, of_networks)])
            return
        _print_cycles(dict(zip(labels, of_networks, strict=True)), profile, named_stack, per_layer)
        return
    if as_json:
        print_json([one.as_dict() for one in counted])
        return
    from pibench.report.estimates import counts_table

    named = [*zip(labels, counted, strict=True)]
    layers = (
        (name, counts_table([(layer.name, layer.counts) for layer in one.layers]))
        for name, one in (named if per_layer else ())
    )
    note = (
        "counted: one forward pass of real Caffe, one thread; in millions. Misses are of lines of "
        "64 bytes in a model of the core's data caches."
    )
    print_tables(counts_table([(name, one.total) for name, one in named]), layers, [note])


def _preloaded() -> list[str]:
    """Return the stacks whose BLAS can be counted."""
    return [name for name in stacks.names() if stacks.load(name).preloaded is not None]


def counts_of(
    loaded: Sequence[Network],
    protocols: Sequence[Protocol],
    device: Device,
    *,
    quiet: bool,
    **how: Any,
) -> list[NetworkCounts]:
    """Count the instructions of each network with real Caffe: minutes in QEMU unless cached."""
    from pibench.counting import Counter
    from pibench.images.build import Builder

    builder = Builder((lambda _: None) if quiet else say)
    counter = Counter(device, builder, **how)
    return [counter.count(*pair) for pair in zip(loaded, protocols, strict=True)]


def _as_json(counted: NetworkCounts, layers: Sequence[Times]) -> dict[str, Any]:
    """Return counts with the times of the layers, all in ms."""
    from pibench.crosscheck.cycles import total

    return counted.as_dict() | {
        "total_ms": asdict(total(layers)),
        "layers_ms": [*map(asdict, layers)],
    }


def _print_cycles(
    of_networks: Mapping[str, Sequence[Times]], device: Device, stack: str, per_layer: bool
) -> None:
    """Print the times of each network, and where blocks and analytic model part."""
    from pibench.crosscheck.cycles import by_type, total
    from pibench.report.estimates import cycles_table

    sums = [total(layers, name) for name, layers in of_networks.items()]
    parted = [
        (name, cycles_table(layers if per_layer else by_type(layers)))
        for name, layers in of_networks.items()
    ]
    note = (
        f"cycles: the blocks of one forward pass that QEMU ran, issued by the rules of a "
        f"{device.cpu} at {device.clock_hz / 1e6:g} MHz with data in the first cache; BLAS of "
        f"{stack}, one thread. Memory is the analytic model's, in both times. Nothing was timed; "
        "no branch is mispredicted."
    )
    print_tables(cycles_table(sums), parted, [note])


def print_tables(table: Table, layers: Iterable[tuple[str, Table]], notes: Iterable[str]) -> None:
    """Print a table, below it those of each network's layers, then notes."""
    from pibench.report.tables import console, printable

    out = console()
    with ignore_broken_pipe():
        out.print(table)
        for name, of_network in layers:
            out.print()
            out.print(printable(name))
            out.print(of_network)
        for line in notes:
            out.print(printable(line))
