#!/usr/bin/env python3
"""Outputs of two architectures side by side, as the Markdown of docs/outputs.md.

    outputs_document.py FOLDER

Runs the paper's 15 networks that fit under `inference` with real compute, on the twin and
in the sysroot, and keeps the records in FOLDER: what is there already is not run again. The
sysroot takes one to ten minutes for a network.
"""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

from pibench import networks
from pibench.bisection.search import LAYER_TOLERANCE
from pibench.crosscheck.blobs import (
    OUTPUT_TOLERANCE,
    LayersComparison,
    OutputsComparison,
    compare_layers,
)
from pibench.crosscheck.metrics import LatencyComparison
from pibench.crosscheck.reconcile import NetworkComparison, reconcile
from pibench.crosscheck.sides import Side, entry_of
from pibench.records.schema import Record
from pibench.records.store import RecordStore

TARGETS = ("twin", "sysroot")

HEAD = """# Outputs on two architectures

The paper's 15 networks that fit, the same input (seed 0, -128 to 128) through the same seeded
weights: once on the amd64 twin and once as arm64 programs under QEMU's user-mode emulator, both
with OpenBLAS, each with the kernels of its CPU. Written by `make outputs-document`. By hand it
is

```console
$ pibench run NETWORK --target twin --protocol inference --repeats 1 --out twin.jsonl
$ pibench run NETWORK --target sysroot --protocol inference --repeats 1 --out sysroot.jsonl
$ pibench reconcile twin.jsonl sysroot.jsonl --fail-on verdict,outputs
```
"""

EXPLANATION = """
*Furthest layer*: the largest Euclidean distance of a layer's blob on the two sides, as a share
of its norm, estimated from signatures. *Largest error* and *rtol*: of the output's values; a
relative tolerance of that size would be enough. *Top 5*: the same classes in the same order.
*Ranks*: Spearman's correlation of the layers' times, the only thing about these times that can
be compared.
"""

TAIL = """
## What the tolerances are

`reconcile` compares outputs with {outputs}, value by value; `bisect` compares
layers with {layers}, by Euclidean distance. The largest distance of a layer above
is {furthest:.1e} of its norm: `bisect`'s default is {margin:.0f} times what rounding did in
{blobs:,} blobs. The output that needs the largest rtol needs {needed:.1e}.

Seeded weights follow He's rule and classify nothing, but the values neither vanish nor
saturate: the largest score of a network is {low:.4f} to {high:.4f}, where a uniform one would
be 0.001, and no value of any layer is infinite or NaN.

## How a signature identifies a layer

For every blob that a layer writes, read right after the layer ran, a record contains its shape,
the SHA-256 of its values, their minimum, maximum and norm, and 16 dot products with fixed random
signs. The mean of the squared differences of these products is an unbiased estimate of the squared
distance of two blobs (Alon, Matias and Szegedy 1996). A whole network is {smallest:.0f} to
{largest:.0f} KiB of JSON, where its blobs are {least:.0f} to {most:.0f} MiB.

These commands find a changed weight, the effect of another BLAS (`--rtol 0`), and a broken layer:

```console
$ pibench bisect "SqueezeNet V1.1" twin twin:weights=changed.caffemodel
$ pibench bisect "SqueezeNet V1.1" twin sysroot:blas=reference --rtol 0
$ pibench bisect "SqueezeNet V1.1" twin container:prototxt=changed.prototxt
```

Whole blobs are transferred only for the first layer that differs and for its inputs. `bisect`
then runs this layer alone on both sides, with the input of the first side. `run --keep-blobs
conv1,fc7` writes whole blobs as npz. From target `vm` they arrive over the guest's serial console:
half a minute for 8 MB on a machine with two cores. Incomplete blobs are left out and listed.

## Values that are not finite

In `reconcile` and in `bisect`, a NaN or an infinity in an output is never equal to anything: a
network that computes NaN on both sides differs (exit code 1), and the line states how many values
are NaN, how many are infinite, and where the first ones are. With `--equal-nan` a NaN is equal to
a NaN, and an infinity to one of the same sign, at the same position; the counts are still
reported. If a blob has more than 65,536 values, the record contains only the count of such values,
not their positions: equal blobs are recognized by their SHA-256; for others `bisect` compares the
whole blobs, and `reconcile` leaves them undecided. Scores with a NaN have no top 5. `run` and
`report` list every output that is not finite, and `--write-baseline` warns about it.

## Which exit code a pipeline gets

`reconcile` works as `diff` does: 0 where all that was compared agrees, 1 where something
differs by more than the defaults, 2 where there was nothing to compare, 4 where a verdict is
undecided. With `--fail-on` the metrics named decide alone, and each has to be compared for
every network: 1 where one differs, else 2 where one was compared for no network (an error in
every test case of it, the others reported all the same), else 4 where one was not for some.

RAM agrees within its percentage or within a floor of 2 MiB; if it only agrees because of the floor,
the line states that. The resident pages of the libraries' files and the memory that the allocator
keeps differ from run to run: eight runs of a LeNet (`pibench run lenet.prototxt --target twin
--protocol inference`) had 7.5 to 8.3 MiB. For another floor: `ram=5%+0MiB`. Two plans have none.

```console
$ pibench reconcile records.jsonl --write-baseline accepted.json     # commit this file
$ pibench reconcile records.jsonl --baseline accepted.json --fail-on verdict,ram=5%,outputs
```

Networks are matched by the hash of their prototxt; files and names do not matter. If a side has
several runs of one network (other threads, seeds, weights, targets), `reconcile` compares runs
with the same distinguishing options and lists runs without a counterpart. If the sides have no
target in common, it compares each run of one side with each run of the other.

A network of the baseline that was not run is also undecided (4). Emulated times and those of the
twin are never compared with another time, including the baseline's: `latency=15%` needs a time of
the board on both sides, measured, predicted or printed.
"""


def main() -> None:
    """Run what is missing, compare, and print the document."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    names = [entry.name for entry in networks.catalog_entries() if entry.paper_row is not None]
    found = {target: records(folder / f"{target}.jsonl", target, names) for target in TARGETS}
    sides = [
        Side.of(target, "records", [entry_of(found[target][name]) for name in names])
        for target in TARGETS
    ]
    compared = {one.network: one for one in reconcile(sides).networks}
    layers = {
        name: compare_layers(
            *(found[target][name].signatures for target in TARGETS), tolerance=LAYER_TOLERANCE
        )
        for name in names
    }
    print(HEAD)
    print("| network | blobs | equal | furthest layer | | largest error | rtol | top 5 | ranks |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        print(row(compared[name], layers[name]))
    print(EXPLANATION)
    print(TAIL.format(**totals(compared, layers, found["sysroot"])).strip())


def records(path: Path, target: str, names: list[str]) -> dict[str, Record]:
    """Return the records of all networks on one target; make those that are missing."""
    store = RecordStore(path)
    known = {record.network for record in store.read()} if path.exists() else set()
    for name in names:
        if name not in known:
            command = [sys.executable, "-m", "pibench", "run", name, "--target", target]
            command += ["--protocol", "inference", "--repeats", "1", "--out", str(path)]
            subprocess.run(command, check=True, stdout=sys.stderr)
    return {record.network: record for record in store.read()}


def row(compared: NetworkComparison, layers: LayersComparison) -> str:
    """Return one line of the table."""
    outputs, latency, worst = (
        compared.metrics["outputs"],
        compared.metrics["latency"],
        layers.worst,
    )
    if (
        not isinstance(outputs, OutputsComparison)
        or not outputs
        or not layers
        or worst is None
        or not isinstance(latency, LatencyComparison)
    ):
        raise SystemExit(f"{compared.network} does not agree: {outputs.why}")
    values = [blob.values for blob in outputs.blobs if blob.values is not None]
    equal = sum(layer.identical for layer in layers.layers)
    ranks = f"{latency.shares.rank_correlation:.2f}" if latency.shares else ""
    return (
        f"| {compared.network} | {len(layers.layers)} | {equal} | {worst.layer} | "
        f"{worst.relative:.1e} | {max(one.largest for one in values):.1e} | "
        f"{outputs.required:.1e} | {'same' if outputs.top5 else 'differ'} | {ranks} |"
    )


def totals(
    compared: dict[str, NetworkComparison],
    layers: dict[str, LayersComparison],
    records: dict[str, Record],
) -> dict[str, object]:
    """Return the figures of the text."""
    furthest = max(one.worst.relative or 0.0 for one in layers.values() if one.worst is not None)
    scores = [record.outputs[0].maximum or 0.0 for record in records.values()]
    signed = [
        len("".join(one.model_dump_json() for one in record.signatures)) / 2**10
        for record in records.values()
    ]
    whole = [
        sum(4 * math.prod(one.shape) for one in record.signatures) / 2**20
        for record in records.values()
    ]
    if any(one.non_finite_count for record in records.values() for one in record.signatures):
        raise SystemExit("some values are infinite or NaN, but the text states that none is")
    return {
        "outputs": OUTPUT_TOLERANCE,
        "layers": LAYER_TOLERANCE,
        "furthest": furthest,
        "margin": math.floor(LAYER_TOLERANCE.rtol / furthest),
        "blobs": sum(len(one.layers) for one in layers.values()),
        "needed": max(one.metrics["outputs"].required or 0.0 for one in compared.values()),
        "low": min(scores),
        "high": max(scores),
        "smallest": min(signed),
        "largest": max(signed),
        "least": min(whole),
        "most": max(whole),
    }


if __name__ == "__main__":
    main()
