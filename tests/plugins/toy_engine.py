"""An engine in a package of its own, as docs/extending.md shows it: see toy_probe.py."""

from pathlib import Path

from pibench.engines.base import Engine

TOY = Engine(id="toy", label="Toy", probe_module=Path(__file__).with_name("toy_probe.py"))
