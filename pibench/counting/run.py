"""Count one network: real Caffe in the emulator, a mark before each layer, one thread.

Everything that could make two runs differ is fixed: the seed of inputs and of Caffe's own numbers,
one BLAS thread, the BLAS kernels of the board's core, and Python's hash seed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pibench.counting import emulator, store
from pibench.counting.counts import Counts, LayerCounts, NetworkCounts
from pibench.errors import HostError
from pibench.images.loader import RootLoader
from pibench.images.recipe import file_sha256
from pibench.process import run
from pibench.targets import emulation
from pibench.targets.job import PROBE, Libraries, Programs, write_job
from pibench.targets.sandbox import sandboxed
from pibench.targets.scratch import scratch

if TYPE_CHECKING:
    from pibench.counting.emulator import CountingEmulator
    from pibench.devices import Device
    from pibench.images.build import Builder
    from pibench.networks.network import Network
    from pibench.records.schema import Protocol

DEADLINE_S: Final = 7200.0
SEED: Final = 0
_CORES: Final = {"cortex-a53": "CORTEXA53", "cortex-a72": "CORTEXA72"}
_MARKING: Final = Path(__file__).resolve().parent.parent / "probe/counted.py"
_COUNT: Final = "PIBENCH-COUNT "
_RESULT: Final = "PIBENCH-RESULT "


class Counter:
    """Count networks for one device, each once; earlier counts come from the cache."""

    def __init__(self, device: Device, builder: Builder, *, cache_model: bool = True) -> None:
        self.device = device
        self.builder = builder
        self.cache_model = cache_model
        self._emulator: CountingEmulator | None = None

    def count(self, network: Network, protocol: Protocol = "caffe-time") -> NetworkCounts:
        """Return the counts of one forward pass in the phase of `protocol`.

        Raises:
            HostError: This machine cannot count, or the run failed.
        """
        return store.stored(self.parts(network, protocol), lambda: self._run(network, protocol))

    def parts(self, network: Network, protocol: Protocol = "caffe-time") -> dict[str, Any]:
        """Return everything that the counts depend on; it is their cache key."""
        return {
            "image": self.builder.key("sysroot"),
            "probe": file_sha256(_MARKING),
            "counter": self.builder.key("counter-1"),
            "network": network.sha256,
            "protocol": protocol,
            "cpu": self.device.qemu_cpu,
            "cache_model": self.cache_model,
            "seed": SEED,
        }

    def _run(self, network: Network, protocol: Protocol) -> NetworkCounts:
        self.builder.report(f"counting {network.name}")
        output = self.execute(network, protocol)
        assert self._emulator is not None  # noqa: S101
        return NetworkCounts(
            network=network.name,
            network_sha256=network.sha256,
            image_key=self.builder.key("sysroot"),
            qemu_version=self._emulator.version,
            layers=parse(output),
        )

    def execute(
        self, network: Network, protocol: Protocol = "caffe-time", *, counting: bool = True
    ) -> str:
        """Run the network under QEMU, with the counter or without, and return their output.

        Raises:
            HostError: As for `count`.
        """
        root = self.builder.sysroot().content / "root"
        if self._emulator is None:
            self._emulator = emulator.find(self.builder, root, self.device.qemu_cpu)
        plugin = str(self._emulator.plugin) + (",cache=on" if self.cache_model else "")
        loader = RootLoader(root, "arm64")
        with scratch("count") as scratch_folder:
            folder = scratch_folder / "job"
            write_job(folder, [], Programs(caffe=[], python=[]), Libraries(), describe=False)
            model = folder / "models/counted.prototxt"
            model.write_text(network.prototxt, encoding="utf-8")
            spec = {"model": str(model), "seed": SEED, "training": protocol == "caffe-time"}
            command = [
                *(self._emulator.program, "-L", str(root)),
                *(("-plugin", plugin) if counting else ()),
                # Absolute links in the root point outside it.
                *("-E", f"LD_LIBRARY_PATH={loader.library_path}"),
                *(str(root / "usr/bin/python3.9"), "-B", str(folder / PROBE)),
                *("--counted", json.dumps(spec)),
            ]
            env = {**loader.python_env(), **self._env()}
            return run(sandboxed(command), env=env, deadline_s=DEADLINE_S).stdout

    def _env(self) -> dict[str, str]:
        """Return the variables that make the run the board's, and reproducible."""
        return {
            **emulation.environment(self.device.qemu_cpu),
            "OPENBLAS_NUM_THREADS": "1",
            "OPENBLAS_CORETYPE": _CORES.get(self.device.cpu, "ARMV8"),
            "PYTHONHASHSEED": "0",
        }


def parse(output: str) -> tuple[LayerCounts, ...]:
    """Parse the layers' counts from the output of probe and counter.

    Raises:
        HostError: The output is incomplete, or more than one thread ran.
    """
    layers: list[dict[str, str]] = []
    stretches: dict[int, dict[str, int]] = {}
    summary: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith(_RESULT):
            layers = json.loads(line.removeprefix(_RESULT))["layers"]
        elif line.startswith(_COUNT):
            found = json.loads(line.removeprefix(_COUNT))
            mark = found.pop("mark", None)
            if mark is None:
                summary = found
            else:
                stretches[mark] = found
    if not layers or not summary or not stretches.keys() >= set(range(len(layers))):
        raise HostError(
            "the counted run ended before it printed all counts",
            hint="check the image: pibench image verify",
        )
    if summary["threads"] != 1 or summary["full"]:
        raise HostError(
            f"the counts are unreliable: {summary['threads']} threads ran, "
            f"{summary['blocks']} blocks were translated"
        )
    return tuple(
        LayerCounts(name=layer["name"], type=layer["type"], counts=Counts(**stretches[index]))
        for index, layer in enumerate(layers)
    )
