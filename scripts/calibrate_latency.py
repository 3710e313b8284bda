#!/usr/bin/env python3
"""Fit the shipped rates again on the paper's latencies, and print the JSON.

calibrate_latency.py > pibench/latency/rpi3b.json
"""

from __future__ import annotations

from pibench import devices
from pibench.crosscheck.paper import load_paper
from pibench.latency import fit, rates
from pibench.latency.rates import Observation


def main() -> None:
    """Every network that has a printed latency counts."""
    paper = load_paper()
    observed = [
        Observation(network=entry.zoo_network, latency_ms=entry.figures["latency_ms"].value)
        for entry in paper.entries
        if "latency_ms" in entry.figures
    ]
    fitted = fit.calibrate(
        observed,
        device=devices.load(paper.device),
        protocol=paper.protocol,
        provenance="paper",
        source=f'the latency column of "{paper.title}", batch {paper.batch}',
    )
    print(rates.dumps(fitted), end="")


if __name__ == "__main__":
    main()
