"""`pibench count`: load networks, count their instructions, print them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pibench import devices
from pibench.cli.loading import load_all
from pibench.cli.streams import ignore_broken_pipe, say
from pibench.counting.run import Counter
from pibench.images.build import Builder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pibench.counting.counts import NetworkCounts
    from pibench.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The options of `pibench count` from the command line."""

    device: str = "rpi3b"
    batch: int | None = None
    repair: bool = False
    cache_model: bool = True
    per_layer: bool = False
    quiet: bool = False
    as_json: bool = False


def count_networks(specs: Sequence[str], wishes: Wishes) -> None:
    """Count all networks. Raises HostError if this machine cannot."""
    loaded = load_all(specs, batch=wishes.batch, repair=wishes.repair, backward=True)
    builder = Builder((lambda _: None) if wishes.quiet else say)
    counter = Counter(devices.load(wishes.device), builder, cache_model=wishes.cache_model)
    counted = [counter.count(network) for network in loaded]
    with ignore_broken_pipe():
        if wishes.as_json:
            print(json.dumps([one.as_dict() for one in counted], indent=2))
        else:
            _print(counted, loaded, per_layer=wishes.per_layer)


def _print(counted: Sequence[NetworkCounts], loaded: Sequence[Network], *, per_layer: bool) -> None:
    from pibench.records.identity import network_labels
    from pibench.report.predicted import counts_table
    from pibench.report.terminal import console, printable

    out = console()
    names = network_labels(loaded)
    out.print(counts_table([(name, one.total) for name, one in zip(names, counted, strict=True)]))
    if per_layer:
        for name, one in zip(names, counted, strict=True):
            out.print()
            out.print(printable(name))
            out.print(counts_table([(layer.name, layer.counts) for layer in one.layers]))
    out.print(
        printable(
            "counted: one forward pass of real Caffe, one thread; in millions. Misses are of "
            "lines of 64 bytes in a model of the core's data caches."
        )
    )
