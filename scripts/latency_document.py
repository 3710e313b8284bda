#!/usr/bin/env python3
"""The Markdown of docs/latency.md, and the pictures beside it.

    latency_document.py FOLDER > docs/latency.md

Pictures go to FOLDER. Prints what `pibench predict --validate` prints, how the error depends
on each constant that was read off and not fitted, and predictions from counts beside those from
shapes for the networks that are in the cache of counts: count them before, `pibench count`.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pibench import cli, devices, networks
from pibench.counting import store
from pibench.counting.counts import NetworkCounts
from pibench.counting.run import Counter
from pibench.images.build import Builder
from pibench.latency import calibration, fit, validation, work
from pibench.latency.model import MACS_PER_CYCLE, predict

VARIED = {
    "tile_rows": (1, 8), "tile_columns": (1, 8), "packed_element": (0.5, 2.0),
    "im2col_element": (1.0, 4.0), "window_element": (2.2, 8.8), "call": (0.0, 1000.0),
    "exp": (25.0, 100.0), "pow": (50.0, 200.0), "random": (25.0, 100.0),
}  # fmt: skip

HEAD = """# Latency

`pibench predict` gives the time of a forward pass on a Raspberry Pi 3 Model B without running
anything. Written by `make latency-document`.

## The model

A layer takes `tile_mac_ns` for each multiply-accumulate of its matrix products, rows and
columns rounded up to whole register tiles, and `access_ns` for each number that it moves
outside their inner loops: im2col, packing operands into panels, passes over blobs, windows of
poolings. What each layer type does is read off Caffe 1.0's CPU code
(`pibench/latency/layers.py`), what a step of each kind takes is in
`pibench/latency/steps.toml`. No layer is faster than its least traffic at the memory's full
speed, which binds nowhere in the paper's networks. Two rates are fitted, by non-negative least
squares on relative errors; no network's name and no measured time of another machine enters.
"""

MEANING = """
In cycles of the board's clock that is {mac:.2f} per multiply-accumulate and {access:.1f} per
number moved. One Cortex-A53 can do {lanes} multiply-accumulates a cycle, and four cores four
times that: the paper's BLAS got {share:.0f} % of one core's. A number moved at that price is
{bandwidth:.2f} GB/s, about what one core that waits for each cache line gets out of this
memory.
"""

EDGE = """
## The edge of memory

A network whose planned headroom is below {onset:.0f} % of the board's memory pays {price:.0f}
ms for each MiB below that: about {page:.1f} ms for a page of 4 KiB, what an SD card takes to
read one. One network of the paper alone is there, and it fixes this price; the onset lies
between its headroom and the next one's, 37 and 50 MiB of 918. So that its agreement is no test,
and the interval of a prediction there reaches from no penalty to twice the penalty.
"""

BASELINES = """
Naive models for comparison: multiply-accumulates times a factor, left out alike, are above.
Times of the amd64 twin (forward passes, one BLAS thread) times a factor come to 5.4 %, worst 12
%, measured on a host with nothing else to do, and to 13.8 %, worst 24.3 %, on a busy one: times
depend on the host, counts do not.
"""

CONSTANTS = """
## Constants that are not fitted

Tiles, im2col and windows are read off the code or counted. Packing, powf, expf and random
numbers are round estimates, made with the errors in view though not searched for the least.
With one of them halved or doubled (tiles: none, or 8; calls: none, or five times as dear) and
the rates fitted anew, the errors of left-out networks become:
"""

COUNTED = """
## From shapes, and from counts

`pibench count` runs real Caffe in QEMU and counts what it executes; `pibench predict --counted`
puts these counts in the place of shapes, by the same rates. powf alone is taken from shapes:
the board's C library was older, and its powf slower, than that of the image. The cache model
knows neither the A53's prefetcher nor that it stops to allocate lines in long runs of stores,
which is why large inner products come out too slow from counts.
"""


def main() -> None:
    """Print the document, write the pictures."""
    folder = Path(sys.argv[1])
    known = calibration.shipped()
    board = devices.load(known.device)
    print(HEAD)
    rates, price = known.rates, known.pressure.ms_per_mib or 0.0
    print(f"```json\n{{\"tile_mac_ns\": {rates.tile_mac_ns:.4f}, \"access_ns\": "
          f"{rates.access_ns:.4f}}}\n```")  # fmt: skip
    cycle_ns = 1e9 / board.clock_hz
    print(MEANING.format(
        mac=rates.tile_mac_ns / cycle_ns, access=rates.access_ns / cycle_ns, lanes=MACS_PER_CYCLE,
        share=100 * cycle_ns / MACS_PER_CYCLE / rates.tile_mac_ns, bandwidth=4 / rates.access_ns,
    ))  # fmt: skip
    print("## Networks that were left out\n\n```text")
    print(said("predict", "--validate", "--plot", str(folder / "predicted-against-board.svg")))
    print("```\n" + BASELINES + "\n![Predicted against the board](predicted-against-board.svg)\n")
    names = [entry.slug for entry in networks.catalog_entries() if entry.in_paper]
    said("predict", *names, "--plot", str(folder / "roofline.svg"))
    print("![Roofline](roofline.svg)")
    print(EDGE.format(onset=100 * known.pressure.onset_share, price=price, page=price / 256))
    print(CONSTANTS)
    print_sensitivity(known)
    print_counted(known)


def said(*arguments: str) -> str:
    """What a command prints."""
    out = io.StringIO()
    sys.argv = ["pibench", *arguments]
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        cli.main()
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def print_sensitivity(known: calibration.Calibration) -> None:
    """A line per constant and value."""
    print("| constant | value | mean % | worst % |\n|---|---|---|---|")
    base = work.steps()
    for name, values in VARIED.items():
        for value in (getattr(base, name), *values):
            with using(replace(base, **{name: value})):
                found = validation.validate(refitted(known))
            mark = "" if value != getattr(base, name) else " (in use)"
            print(f"| {name} | {value:g}{mark} | {found.mape_pct:.1f} | {found.worst_pct:.1f} |")


@contextlib.contextmanager
def using(steps: work.Steps) -> Iterator[None]:
    """Other constants while the block runs."""
    shipped: Callable[[], work.Steps] = work.steps
    work.steps = lambda: steps  # type: ignore[assignment]
    try:
        yield
    finally:
        work.steps = shipped  # type: ignore[assignment]


def refitted(known: calibration.Calibration) -> calibration.Calibration:
    """The same times, and rates for the constants in use."""
    return fit.calibrate(
        known.observations,
        device=devices.load(known.device),
        protocol=known.protocol,
        provenance=known.provenance,
        source=known.source,
    )


def print_counted(known: calibration.Calibration) -> None:
    """A line per network whose counts are in the cache; nothing is counted here."""
    board = devices.load(known.device)
    counter = Counter(board, Builder())
    print(COUNTED)
    print("| network | board ms | from shapes ms | from counts ms | counts against shapes % |")
    print("|---|---|---|---|---|")
    for one in known.observations:
        network = networks.load(one.network)
        counts = cached(counter, network)
        if counts is not None:
            shaped = predict(network, board, known).latency_ms
            from_counts = predict(network, board, known, counts).latency_ms
            print(f"| {one.network} | {one.latency_ms:.0f} | {shaped:.0f} | {from_counts:.0f} | "
                  f"{100 * (from_counts / shaped - 1):+.1f} |")  # fmt: skip


def cached(counter: Counter, network: networks.Network) -> NetworkCounts | None:
    """The network's counts, None where it was never counted."""
    return store.known(counter.parts(network))


if __name__ == "__main__":
    main()
