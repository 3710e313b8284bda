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
import json
import sys
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from importlib import resources
from math import prod
from pathlib import Path
from statistics import mean

from pibench import cli, devices, networks
from pibench.counting import Counter, NetworkCounts, known_counts
from pibench.crosscheck import cycles
from pibench.crosscheck.estimated import estimates
from pibench.crosscheck.paper import load_paper
from pibench.images.build import Builder
from pibench.latency import analytic, factors, fit, pressure, rates, stacks, validation, work
from pibench.latency.model import MACS_PER_CYCLE, predict
from pibench.latency.products import Memory, product, with_lines
from pibench.networks.network import Network

BOARDS = ("rpi3b", "rpi4b_2gb")
VARIED = {
    "tile_rows": (1, 8), "tile_columns": (1, 8), "packed_element": (0.5, 2.0),
    "im2col_element": (1.0, 4.0), "window_element": (2.2, 8.8), "call": (0.0, 1000.0),
    "exp": (25.0, 100.0), "pow": (50.0, 200.0), "random": (25.0, 100.0),
}  # fmt: skip

HEAD = """# Latency

`pibench predict` gives the time of a forward pass on a board without running anything, for the
software on that board. Written by `make latency-document`.

The same network takes several times as long with one build of BLAS as with another, so a time is
that of a *stack*: a build of BLAS, the level at which Caffe was compiled, and a C library
(`--stack`, `--threads`). The default is the stack of pibench's own images on all cores of the
device. `--stack unknown` gives the range of all of that core, and `--stack paper` two rates, fitted
on the paper's times: `pibench reproduce` and its ledger use these.

## Times from machine code

No rate of a stack is fitted. `pibench/scoreboard` issues the inner loops of a library's own
machine code as a Cortex-A53 does, in order and two instructions a cycle at most, or as a
Cortex-A72 does, out of order: each instruction as soon as its operands and its pipe are there. The
rules are published ones (`pibench/scoreboard/cortex-a53.toml` and `cortex-a72.toml` have each with
its source). `scripts/stacks.py` writes the cycles of each kernel into `pibench/latency/stacks/`. A
product then takes

- its register tiles, each over the depth, and reading, adding and writing back its part of C,
- the copies of both operands into panels, or blocks,
- lines of panels from L2, and C and both operands from memory where they do not stay in L2.

Caffe's other loops take what the same rules give for them (`loops.toml`), plus what a plain loop
waits for memory where a blob does not stay in L2. The profile of a board has the times of its
memory (`pibench/devices/`, `[memory.timing]`). On several threads OpenBLAS divides the rows of a
large product, and each core computes its own in tiles of its own: a few rows each leave partial
tiles, and a product with a vector stays on one core before OpenBLAS 0.3. The memory serves all
cores together at most three quarters of its peak; all else stays on one.

"""

AGAINST = """
## Against what others measured

Products of square matrices on a Cortex-A53 (`pibench/latency/published.toml` has the sources), in
multiply-accumulates a cycle. One row is the first product of its program, which also touches
OpenBLAS's buffers for the first time; the model has none of that:

"""

PASSES = """
Forward passes, with nothing fitted to them (`pibench reproduce --table a53-openblas`). What a power
of LRN takes there is inferred, among others from AlexNet and GoogLeNet in this table: their rows do
not test that part.

```text
{table}
```

On the two Cortex-A72 of the same board (`--table a72-openblas`), with nothing fitted either but
that power, which is inferred from the LRN layers of AlexNet and GoogLeNet there:

```text
{other_core}
```

ResNet-18 and ResNet-34 took longer on two of these cores than on one, which no model has. Without
these two rows: mean {other_mean:.1f} %, worst {other_worst:.1f} %.

Of a fully connected layer's weights, a core that packs them reads a thousand bytes of one row, then
of the next. A Cortex-A72 is taken to read each line of such runs as one at random, of which two are
under way (`line_short_run_ns` of its boards, from others' measurements of memory). This was
concluded from AlexNet in this table, so AlexNet does not test it: by the report its fully connected
layers took 336 to 342 ms on one core; {rows:.0f} ms are predicted, and {stream:.0f} if the lines
came in a stream. GoogLeNet's layer, which is small, took 4.5 ms, and {small:.1f} are predicted.

The same by the rates fitted on the paper's times, as pibench predicted every board before it had
stacks (`--stack paper`):

```text
{fitted}
```

## The stack of pibench's images

`caffe time`, in ms. Nobody has timed it on a board.

"""

EXECUTED = """
## By the blocks that ran

The analytic time counts what a layer has to do. `pibench count --cycles` takes what Caffe did: QEMU
reports each block of code that a layer ran, and how often, and the scoreboard issues each of
them (`pibench/scoreboard/executed.py`). It does so for any BLAS of pibench's arm64 image: `--stack`
chooses OpenBLAS's kernels, ATLAS or the reference BLAS; Caffe and the C library are the image's.
What a core waits for memory is not in the blocks: both times have the analytic model's. A block is
issued as if it repeated itself, blocks that follow each other equally often as one, and no branch
is mispredicted. One forward pass, one thread:

| board | network | BLAS of | by blocks ms | analytic ms | apart % | of both, memory ms |
|---|---|---|---|---|---|---|"""

PARTED = """
Where they part, of {network} with {stack}: the sum of the layers of each type.

| type (layers) | by blocks ms | analytic ms | apart ms |
|---|---|---|---|"""

PARTED_BY = """
Dropout takes less than it counts, because it draws its numbers faster than `random`. Scale,
BatchNorm, Eltwise and Concat agree within a few percent for each BLAS, except BatchNorm of small
maps (7 x 7: up to a fifth), whose rows leave partial tiles and short sums. ATLAS's table is that
of its fastest loop over the depth: what it takes for other shapes is in the blocks alone, above all
for a product with a vector (AlexNet: 25 cycles a multiply-accumulate, 9 by the table).
"""

NARROWED = """
## A board's own times

`pibench calibrate --from RECORDS` narrows the stack that the records name (`--stack` names
another) to the board that made them: one factor on products, one on accesses, which are loops and
waiting for memory. They are fitted by least squares on the logarithms of errors, in which a time
far from all others counts less; a single factor where there are fewer than three networks, or where
they do not tell two apart. Times at the edge of memory are left out. It prints the error of each
network by factors fitted on the others; from four networks on, these errors are the interval of
`predict --calibration`. Where no stack is known for the board, two rates are fitted instead
([below](#rates-fitted-on-the-paper)). What factors make of `atlas-armhf` on the paper's board, each
network left out: mean {mean:.1f} %, worst {worst:.1f} % ({factors}).
"""

POWERS = """
## Powers

LRN takes a power of each element. What that costs cannot come from Caffe's code: it depends on
the C library and on the data. `caffe time` feeds zeros, and then every base is exactly 1.
`predict --data zeros|images` chooses; the default is zeros under `caffe-time`, else images. Cycles,
with the bounds that intervals use:

| core | C library | data | cycles | from | to | source |
|---|---|---|---|---|---|---|
"""

INTERVAL = """
## Intervals

Low to high is a 90 % interval. Parts are off independently: {shares}; products on several threads
{threads:.0f} %; and {all:.0f} % of everything but powers for what no part contains, such as misses
of the TLB, mispredicted branches, and other programs. What a stack leaves open (the level at which
Caffe was compiled, the cost of a power) counts as a further part. None of this is fitted, but the
last share was widened once, after two of twelve published times (SqueezeNet V1.1 on one and four
cores) were above the interval.

Choices were made with the tables above in view, all but ResNet-34 of the published times until the
last one. A plain loop waits only for what memory is slower than it. Caffe counts as compiled at -O2
where a source does not say, although the Makefile of the fork that published those times has -O3.
Lines of A reach the kernel of `openblas-armv8` as slowly as its published product says, although it
prefetches them. What the published passes are off by with other choices:

| `openblas-armv8` on {device} | mean %, worst % |
|---|---|
{choices}

The third line is what the blocks of Debian's Caffe, at -O3, confirm for its own loops and every
BLAS: BatchNorm, Scale, Eltwise, Concat and biases are functions on whole vectors there. Nobody has
counted Caffe at -O2, and the published times are longer than this: stacks at -O2 take a plain
loop's time for them (`loops.toml`). Why the boards are slower is not explained.

What the model leaves out: mispredicted branches, misses of the TLB, lines that collide in L2, how
many instructions a Cortex-A72 can hold, and how threads wait for each other beyond a fixed start:
on four cores of a Raspberry Pi 4 OpenBLAS 0.3.5 to 0.3.7 multiplied no faster than on one
(OpenBLAS issue 2230). Published products of less than 256 rows vary.

## Whose times the paper's are

The paper does not name its BLAS. One thread of each stack on its board, against its latency column
(the networks away from the edge of memory):

| stack | nothing fitted: mean %, worst % | one factor | with it: mean %, worst % |
|---|---|---|---|
"""

WITNESSES = """
32-bit ATLAS on one thread, what Caffe's Makefile takes by default on Raspbian, is nearest with
nothing fitted. That is an inference, and the paper's other column contradicts it: its memory points
to a 64-bit system with an OpenBLAS older than 0.3.11. This column points to an OpenBLAS too, of 32
bit, if functions on vectors take what their machine code says:
{by_vectors}.
pibench claims neither.

## Rates fitted on the paper

For `--stack paper`, and for a board's own times (`calibrate`), a layer takes `tile_mac_ns` for each
multiply-accumulate of its matrix products, rows and columns rounded up to whole register tiles,
and `access_ns` for each number that it moves outside their inner loops: im2col, packing operands
into panels, passes over blobs, windows of poolings. What each layer type does is read off Caffe
1.0's CPU code (`pibench/latency/work.py`), what a step of each kind takes is in
`pibench/latency/cost_model.toml`. No layer is faster than its least traffic at the memory's full
speed, which binds nowhere in the paper's networks. Two rates are fitted, by non-negative least
squares on relative errors; no network's name and no measured time of another machine enters.
"""

MEANING = """
In cycles of the board's clock that is {mac:.2f} per multiply-accumulate and {access:.1f} per
number moved. One Cortex-A53 can do {lanes} multiply-accumulates a cycle (`fmla v.4s`, one a cycle),
and four cores four times that: the paper's BLAS got {share:.0f} % of one core's. A number moved at
that price is {bandwidth:.2f} GB/s, about what one core that waits for each cache line gets out of
this memory.
"""

EDGE = """
### The edge of memory

A network whose planned headroom is below {onset:.0f} MiB pays {price:.0f} ms for each MiB below
that: about {page:.1f} ms for a page of 4 KiB, what an SD card takes to read one. The onset is in
MiB and the same on all boards: what must stay in memory, pages of libraries, belongs to the
programs. Only one network of the paper is there, with {edge:.1f} MiB, and it fixes this price;
the next one, with {clear:.1f} MiB, pays nothing. Its agreement is therefore not a test.
The intervals of other networks and boards state all that is known about them:

- With as little left as that network, or less, a network pays at least as much as it did,
  {paid:.0f} ms: a step and a slope from any onset alike pass through the one time that is known,
  and less memory never made a board faster.
- For each MiB less than that it pays the price, or nothing, or twice as much. Twice is an
  assumption, not a measurement: 1 MB/s, less than the slowest speed class of SD cards is made
  for.
- Between the two headrooms it pays nothing, or what a line from the one to the other gives.
- A planned headroom is off by up to {plan_error:.2f} % of the planned peak, the worst of
  [planned-against-measured.md](planned-against-measured.md) in the VM. Where the board's very time
  of the network is known, it is not.
- The card's time does not go by the processor's clock.

What it comes to where a board has less memory than the one that was timed:
"""

BASELINES = """
Naive models for comparison: multiply-accumulates times a factor, leave-one-out too, are above.
Times of the amd64 twin (forward passes, one BLAS thread) times a factor come to 5.4 %, worst 12
%, measured on a host with nothing else to do, and to 13.8 %, worst 24.3 %, on a busy one: times
depend on the host, counts do not.
"""

CONSTANTS = """
### Constants that are not fitted

Tiles, im2col and windows are read off the code or counted. Packing, powf, expf and random
numbers are round estimates, made with the errors in view though not searched for the least.
With one of them halved or doubled (tiles: none, or 8; calls: none, or five times as dear) and
the rates fitted again, the errors of left-out networks become:
"""

COUNTED = """
### From shapes, and from counts

`pibench count` runs real Caffe in QEMU and counts what it executes; `pibench predict --counted`
uses these counts instead of shapes, with the same rates. Only powf is taken from shapes: the
board's C library was older, and its powf slower, than the image's, whose powf is subtracted
(`pow_instructions`).

The model of the caches (`qemu/counter/cache.h`) has the A53's sizes and its read allocate mode, in
which long runs of whole lines are written past the caches. It leaves out its prefetcher, that
its L1 replaces at random, and lines that collide in L2: those hang on page frames and on the
blocking of the BLAS that is counted, a later one than the board's. Networks that do not fit the
board are counted alike; their time is for a board with more memory. What the edge of memory
costs is in neither time.
"""

COUNTING = """
Counting needs a dynamic `qemu-aarch64`: a static one loads no plugins, and Debian 13's is static.
Debian 12's, from its packages `qemu-user` and `libcapstone4`, runs with Debian 13's libraries and
counts there. The plugin itself speaks QEMU's later interface too: in QEMU 10.0's system
emulator, which loads plugins on Debian 13, it counts a bare program as in 7.2, exactly
(`tests/emulation/test_counts.py`). `pibench count` does not run Caffe in that: an operating
system would be counted too, and layers are marked by system calls, which only the user-mode
emulator reports. pibench also builds and tries the counter for a user-mode emulator with that
interface; this was never tested, since Debian has none.
"""


def main() -> None:
    """Print the document, write the pictures."""
    folder = Path(sys.argv[1])
    known = rates.shipped()
    board = devices.load(known.device)
    print(HEAD, end="")
    print_stacks()
    print_products()
    print_passes()
    print_executed()
    print_narrowed(known)
    print_powers()
    print_papers_stack(known)
    fitted = known.rates
    print(f"```json\n{{\"tile_mac_ns\": {fitted.tile_mac_ns:.4f}, \"access_ns\": "
          f"{fitted.access_ns:.4f}}}\n```")  # fmt: skip
    cycle_ns = 1e9 / board.clock_hz
    print(MEANING.format(
        mac=fitted.tile_mac_ns / cycle_ns, access=fitted.access_ns / cycle_ns, lanes=MACS_PER_CYCLE,
        share=100 * cycle_ns / MACS_PER_CYCLE / fitted.tile_mac_ns, bandwidth=4 / fitted.access_ns,
    ))  # fmt: skip
    print("### Leave-one-out validation\n\n```text")
    print(output_of("predict", "--validate", "--plot", str(folder / "predicted-against-board.svg")))
    print("```\n" + BASELINES + "\n![Predicted against the board](predicted-against-board.svg)\n")
    names = [entry.slug for entry in networks.catalog_entries() if entry.in_paper]
    output_of("predict", *names, "--stack", "paper", "--plot", str(folder / "roofline.svg"))
    print("![Roofline](roofline.svg)")
    print_edge(known)
    print(CONSTANTS)
    print_sensitivity(known)
    print_counted(known)


def output_of(*arguments: str) -> str:
    """Return what a command prints."""
    out = io.StringIO()
    sys.argv = ["pibench", *arguments]
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        cli.main()
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def print_stacks() -> None:
    """A line per stack: what it is, and what its widest tile does."""
    print("| `--stack` | core | what it is | tile | MACs a cycle | Caffe | C library |")
    print("|---|---|---|---|---|---|---|")
    for name in stacks.names():
        one = stacks.load(name)
        rates_of = {
            size: prod(map(int, size.split("x"))) / tile.step
            for size, tile in one.gemm.tiles.items()
        }
        tile, rate = max(rates_of.items(), key=lambda pair: pair[1], default=("", 0.0))
        rate = rate or 1 / one.gemm.mac
        level = f"-{one.loops_level}" + ("" if one.open_loops == (1.0, 1.0) else " or another")
        library = one.c_library.replace("_", ".")
        row = f"| `{name}` | {one.cpu} | {one.title} | {tile} | {rate:.2f} | {level} | {library} |"
        print(row)


def print_products() -> None:
    """A line per published product."""
    file = resources.files("pibench.latency") / "published.toml"
    published = tomllib.loads(file.read_text(encoding="utf-8"))
    board = devices.load("rk3399")
    memory = Memory.of(board)
    print(AGAINST + "| kernel | size | published | predicted | error % |\n|---|---|---|---|---|")
    errors: list[float] = []
    first_calls: list[float] = []
    for one in published["product"]:
        for size, mflops in one["mflops"].items():
            n = int(size)
            rate = n**3 / sum(product(n, n, n, stacks.load(one["stack"]), memory))
            printed = mflops * 1e6 / 2 / board.clock_hz
            error = 100 * (rate / printed - 1)
            first = n == one.get("first_call")
            (first_calls if first else errors).append(abs(error))
            row = f"{one['stack']} | {f'{n}, the first call' if first else n}"
            print(f"| {row} | {printed:.2f} | {rate:.2f} | {error:+.0f} |")
    for one in published["kernel"]:
        rate = with_lines(one, memory)
        error = 100 * (rate / one["published"] - 1)
        errors.append(abs(error))
        print(f"| {one['name']}, alone | | {one['published']:.2f} | {rate:.2f} | {error:+.0f} |")
    all_of_them = errors + first_calls
    print(f"\nMean {mean(errors):.1f} %, worst {max(errors):.1f} %; with the first call "
          f"{mean(all_of_them):.1f} %, {max(all_of_them):.1f} %.")  # fmt: skip


def connected_ms(name: str, *, in_stream: bool = False) -> float:
    """Return the time of a network's fully connected layers on one Cortex-A72 of that board, in ms.

    With `in_stream` their weights come in a stream.
    """
    table = load_paper("a72-openblas")
    device = devices.load(table.device)
    if in_stream and device.memory is not None:
        device = replace(device, memory=replace(device.memory, line_short_run_ns=None))
    of = analytic.Configuration(
        stack=stacks.load(table.stack), device=device, threads=1, data=table.data
    )
    return sum(
        of.parts(one).ms for one in work.count(networks.load(name)) if one.type == "InnerProduct"
    )


def print_passes() -> None:
    """Published forward passes by their stack and by fitted rates, and times of the own stack."""
    by_stack, by_rates, other_core = (
        output_of("reproduce", "--table", *words, "--out", tempfile.mkdtemp()).partition(
            "\n\nSource"
        )[0]
        for words in (("a53-openblas",), ("a53-openblas", "--stack", "paper"), ("a72-openblas",))
    )
    table = load_paper("a72-openblas")
    errors = [
        100 * abs(found / entry.figures["latency"].value - 1)
        for entry in table.entries
        if entry.key not in ("resnet-18-2", "resnet-34-2")
        and isinstance(found := estimates(table, entry)["latency"].value, float)
    ]
    print(PASSES.format(
        table=by_stack, fitted=by_rates, other_core=other_core, other_mean=mean(errors),
        rows=connected_ms("AlexNet"), stream=connected_ms("AlexNet", in_stream=True),
        small=connected_ms("GoogleNet"),
        other_worst=max(errors),
    ), end="")  # fmt: skip
    print("| board | network | one thread | four threads |\n|---|---|---|---|")
    for device in BOARDS:
        for name in ("AlexNet", "GoogleNet", "MobileNet", "SqueezeNet V1.1", "ResNet-101"):
            answers = (
                json.loads(
                    output_of("predict", name, "--device", device, "--threads", threads, "--json")
                )[0]
                for threads in ("1", "4")
            )
            cells = [
                f"{one['latency_ms']:.0f} ({one['low_ms']:.0f} to {one['high_ms']:.0f})"
                for one in answers
            ]
            print(f"| {devices.load(device).name} | {name} | {' | '.join(cells)} |")


def print_executed() -> None:
    """A line per network and stack whose cycles are in the cache, and where they part."""
    parted = None
    print(EXECUTED)
    of_boards = [
        (board, name, stack)
        for board in map(devices.load, BOARDS)
        for name in ("AlexNet", "SqueezeNet V1.1")
        for stack in stacks.of_cpu(board.cpu)
    ]
    for board, name, stack in of_boards:
        network = networks.load(name)
        blas = stacks.load(stack).preloaded
        if blas is None:
            continue
        counter = Counter(
            board, Builder(), cache_model=False, cycles=True, blas=blas[0], blas_core=blas[1]
        )
        counts = cached(counter, network)
        if counts is None:
            continue
        times = cycles.compared(network, counts, board, stack, "caffe-time")
        whole = cycles.total(times)
        print(f"| {board.id} | {name} | `{stack}` | {whole.from_blocks_ms:.0f} | "
              f"{whole.analytic_ms:.0f} | {100 * (whole.apart or 0):+.1f} | "
              f"{whole.memory_ms:.0f} |")  # fmt: skip
        if stack == stacks.DEFAULT:
            parted = name, times
    if parted is not None:
        name, times = parted
        print(PARTED.format(network=name, stack=f"`{stacks.DEFAULT}`"))
        for one in cycles.by_type(times):
            print(f"| {one.name} | {one.from_blocks_ms:.2f} | {one.analytic_ms:.2f} | "
                  f"{one.issue_ms - one.analytic_issue_ms:+.2f} |")  # fmt: skip
        print(PARTED_BY, end="")


def print_narrowed(known: rates.LatencyRates) -> None:
    """What factors come to on the paper's times."""
    times = {one.network: one.latency_ms for one in known.rated_on}
    found = factors.fit(
        times,
        {name: networks.load(name) for name in times},
        analytic.Configuration(
            stack=stacks.load("atlas-armhf"),
            device=devices.load(known.device),
            threads=1,
            data="zeros",
        ),
        known.protocol,
        "the paper's times",
    )
    sizes = [abs(error) for error in found.left_out_pct]
    what = f"products x {found.products:.2f}, accesses x {found.accesses:.2f}"
    print(NARROWED.format(mean=mean(sizes), worst=max(sizes), factors=what), end="")


def print_powers() -> None:
    """A line per C library and kind of data."""
    print(POWERS, end="")
    for cpu, by_library in analytic.known_powers().items():
        for library, by_data in by_library.items():
            for data, one in by_data.items():
                name = library.replace("_", ".")
                print(
                    f"| {cpu} | {name} | {data} | {one.cycles:g} | {one.low:g} | {one.high:g} | "
                    f"{one.source} |"
                )


def other_choices() -> Iterator[str]:
    """A line per choice: what published passes are off by with it."""
    table = load_paper("a53-openblas")
    board, stack = devices.load(table.device), stacks.load(table.stack)
    loops = tomllib.loads((Path(stacks.__file__).parent / "loops.toml").read_text())
    rows = [
        (entry, work.count(networks.load(entry.path or entry.zoo_network), table.protocol))
        for entry in table.entries
    ]
    for title, other in {
        "as above": stack,
        "Caffe compiled at -O3": replace(
            stack,
            loops=stacks.Loops(**loops[stack.cpu]["O3"]),
            vectors=stack.with_loops_of(stacks.load(stacks.DEFAULT)).vectors,
        ),
        "functions on vectors by their machine code": by_vectors(stack),
        "lines of A as fast as prefetched": replace(stack, gemm=replace(stack.gemm, hides_l2=True)),
    }.items():
        errors = []
        for entry, done in rows:
            configuration = analytic.Configuration(
                stack=other, device=board, threads=entry.threads or 1, data=table.data
            )
            whole_ms = sum(configuration.parts(layer).ms for layer in done)
            errors.append(100 * (whole_ms / entry.figures["latency"].value - 1))
        yield f"| {title} | {mean(map(abs, errors)):.1f}, {max(errors, key=abs):+.1f} |"


def print_papers_stack(known: rates.LatencyRates) -> None:
    """A line per stack: its error on the paper's times, and with one common factor."""
    shares = ", ".join(f"{name} {100 * one:.0f} %" for name, one in analytic.UNKNOWN_SHARES.items())
    print(INTERVAL.format(
        shares=shares, threads=100 * analytic.UNKNOWN_OF_THREADS, all=100 * analytic.UNKNOWN_OF_ALL,
        device=devices.load("rk3399").name, choices="\n".join(other_choices()),
    ), end="")  # fmt: skip
    board = devices.load(known.device)
    counted = [(one, work.count(networks.load(one.network))) for one in known.rated_on]

    def errors_of(stack: stacks.Stack) -> tuple[list[float], float, list[float]]:
        configuration = analytic.Configuration(stack=stack, device=board, threads=1, data="zeros")
        ratios = [
            sum(configuration.parts(layer).ms for layer in done) / one.latency_ms
            for one, done in counted
        ]
        factor = sum(ratios) / sum(ratio**2 for ratio in ratios)
        bare, scaled = ([100 * abs(by * ratio - 1) for ratio in ratios] for by in (1.0, factor))
        return bare, factor, scaled

    for name in stacks.of_cpu(board.cpu):
        bare, factor, scaled = errors_of(stacks.load(name))
        print(f"| {name} | {mean(bare):.1f}, {max(bare):.1f} | {factor:.2f} | "
              f"{mean(scaled):.1f}, {max(scaled):.1f} |")  # fmt: skip
    found = []
    for name in ("openblas-armv7", "atlas-armhf"):
        _, factor, scaled = errors_of(by_vectors(stacks.load(name)))
        off = f"{mean(scaled):.1f} % (worst {max(scaled):.1f} %)"
        found.append(f"`{name}` is then off by {off} with one factor of {factor:.2f}")
    print(WITNESSES.replace("{by_vectors}", ",\n".join(found)))


def by_vectors(stack: stacks.Stack) -> stacks.Stack:
    """Return a stack whose functions on vectors take what their machine code says."""
    return replace(stack, loops=replace(stack.loops, counted=True))


def print_sensitivity(known: rates.LatencyRates) -> None:
    """A line per constant and value."""
    print("| constant | value | mean % | worst % |\n|---|---|---|---|")
    base = work.cost_model()
    for name, values in VARIED.items():
        for value in (getattr(base, name), *values):
            with using(replace(base, **{name: value})):
                found = validation.validate(refitted(known))
            mark = "" if value != getattr(base, name) else " (in use)"
            print(f"| {name} | {value:g}{mark} | {found.mape_pct:.1f} | {found.worst_pct:.1f} |")


@contextlib.contextmanager
def using(steps: work.CostModel) -> Iterator[None]:
    """Other constants while the block runs."""
    shipped: Callable[[], work.CostModel] = work.cost_model
    work.cost_model = lambda: steps  # type: ignore[assignment]
    try:
        yield
    finally:
        work.cost_model = shipped  # type: ignore[assignment]


def refitted(known: rates.LatencyRates) -> rates.LatencyRates:
    """The same times, and rates for the constants in use."""
    return fit.calibrate(
        known.observations,
        device=devices.load(known.device),
        protocol=known.protocol,
        provenance=known.provenance,
        source=known.source,
    )


def print_edge(known: rates.LatencyRates) -> None:
    """What is known of the edge of memory, and two predictions by it."""
    edge = known.pressure
    price = edge.ms_per_mib or 0.0
    print(EDGE.format(
        onset=edge.onset_mib, price=price, page=price / 256, edge=edge.edge_mib,
        clear=edge.clear_mib, paid=edge.paid_ms, plan_error=100 * pressure.PLAN_ERROR_SHARE,
    ))  # fmt: skip
    print("```text")
    print(
        output_of(
            "predict", "ResNet-101", "DenseNet-169", "--stack", "paper", "--device", "rpi3b_plus"
        )
    )
    print("```")


def print_counted(known: rates.LatencyRates) -> None:
    """A line per network whose counts are in the cache; nothing is counted here."""
    board = devices.load(known.device)
    counter = Counter(board, Builder())
    timed = {one.network: f"{one.latency_ms:.0f}" for one in known.observations}
    off_pct = []
    print(COUNTED)
    print("| network | board ms | from shapes ms | from counts ms | counts against shapes % |")
    print("|---|---|---|---|---|")
    for name in sorted_names(timed):
        network = networks.load(name)
        counts = cached(counter, network)
        if counts is not None:
            shaped, from_counts = (
                one.latency_ms - one.pressure_ms
                for one in (
                    predict(network, board, known),
                    predict(network, board, known, counts),
                )
            )
            off_pct.append(100 * (from_counts / shaped - 1))
            print(f"| {name} | {timed.get(name, '')} | {shaped:.0f} | {from_counts:.0f} | "
                  f"{off_pct[-1]:+.1f} |")  # fmt: skip
    if off_pct:
        sizes = [abs(one) for one in off_pct]
        print(f"\n{len(sizes)} networks: mean {mean(sizes):.1f} %, worst {max(sizes):.1f} %.")
    print(COUNTING, end="")


def sorted_names(timed: Collection[str]) -> list[str]:
    """Return the paper's networks: those with a time, in its order, then those that do not fit."""
    others = [
        entry.name
        for entry in networks.catalog_entries()
        if entry.in_paper and entry.name not in timed
    ]
    return [*timed, *others]


def cached(counter: Counter, network: Network) -> NetworkCounts | None:
    """The network's counts, None where it was never counted."""
    return known_counts(counter.parts(network))


if __name__ == "__main__":
    main()
