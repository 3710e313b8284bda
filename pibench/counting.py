"""Count the instructions that a network's forward pass executes on the board's CPU.

QEMU's user-mode emulator runs real Caffe with pibench's plugin (`qemu/counter`), a mark before
each layer and one thread. Its times mean nothing; its instructions are the board's own.
Counts never change, so they are cached.

Everything that could make two runs differ is fixed: the seed of inputs and of Caffe's own numbers,
one BLAS thread, the BLAS kernels of the board's core, and Python's hash seed.
"""

from __future__ import annotations

import json
import shutil
from array import array
from collections import Counter as Tally
from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from pibench import cache, settings
from pibench.errors import HostError
from pibench.images.build import API_VERSIONS
from pibench.images.recipe import file_sha256, fingerprint
from pibench.images.rootfs import RootLoader
from pibench.process import run
from pibench.scoreboard import executed
from pibench.scoreboard.core import load_core
from pibench.targets import emulation
from pibench.targets.job import PROBE, Libraries, Programs, write_job
from pibench.targets.sandbox import sandboxed, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pibench.devices import Device
    from pibench.engines.base import Protocol
    from pibench.images.build import Builder
    from pibench.networks.network import Network
    from pibench.scoreboard.core import Core
    from pibench.setups import Blas

DEADLINE_S: Final = 7200.0
SEED: Final = 0
_CORES: Final = {"cortex-a53": "CORTEXA53", "cortex-a72": "CORTEXA72"}
_MARKING: Final = Path(__file__).resolve().parent / "probe/engines/pycaffe.py"
_COUNT: Final = "PIBENCH-COUNT "
_BLOCK: Final = "PIBENCH-BLOCK "
_RESULT: Final = "PIBENCH-RESULT "
PROGRAM: Final = "qemu-aarch64"
_DEADLINE_S: Final = 60.0
FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Instructions by kind, lanes of multiply-accumulate, bytes moved between core and memory.

    Misses are lines of 64 bytes in a model of the Cortex-A53's data caches; None where the model
    was off. `issue_cycles` are those of the blocks that ran on the scoreboard of the core, with all
    data in the first cache; None where they were not asked for.
    """

    mac_instructions: int
    simd_instructions: int
    load_instructions: int
    store_instructions: int
    branch_instructions: int
    other_instructions: int
    macs: int
    bytes_loaded: int
    bytes_stored: int
    l1_misses: int | None = None
    l2_misses: int | None = None
    issue_cycles: float | None = None

    @property
    def instructions(self) -> int:
        """Return the number of all instructions."""
        return sum(
            getattr(self, field.name)
            for field in fields(self)
            if field.name.endswith("_instructions")
        )

    def __add__(self, other: Self) -> Counts:
        sums: dict[str, float | None] = {}
        for field in fields(self):
            own, added = getattr(self, field.name), getattr(other, field.name)
            sums[field.name] = None if own is None or added is None else own + added
        return Counts(**sums)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class LayerCounts:
    """The counts of one layer as Caffe runs it; Split layers are included."""

    name: str
    type: str
    counts: Counts


@dataclass(frozen=True, kw_only=True)
class NetworkCounts:
    """One forward pass: the layers in order, and what it was counted with.

    Each layer includes the few thousand instructions of its call from Python, equal for all.
    """

    network: str
    network_sha256: str
    image_key: str
    qemu_version: str
    layers: tuple[LayerCounts, ...]

    @property
    def total(self) -> Counts:
        """Return the sum over layers."""
        first, *others = (layer.counts for layer in self.layers)
        for counts in others:
            first += counts
        return first

    def as_dict(self) -> dict[str, Any]:
        """Return the layers and their sum as plain data."""
        return {
            **{key: value for key, value in asdict(self).items() if key != "layers"},
            "total": _plain(self.total),
            "layers": [
                {"name": layer.name, "type": layer.type, **_plain(layer.counts)}
                for layer in self.layers
            ],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the result of `as_dict`.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        names = [field.name for field in fields(Counts)]
        layers = tuple(
            LayerCounts(
                name=layer["name"],
                type=layer["type"],
                counts=Counts(**{name: layer.get(name) for name in names}),
            )
            for layer in data["layers"]
        )
        if not layers:
            raise ValueError("no layers")
        own = ("network", "network_sha256", "image_key", "qemu_version")
        return cls(**{name: data[name] for name in own}, layers=layers)


def _plain(counts: Counts) -> dict[str, float | None]:
    return {"instructions": counts.instructions, **asdict(counts)}


@dataclass(frozen=True, kw_only=True)
class CountingEmulator:
    """The emulator's path, its version line, and the plugin built for it."""

    program: str
    version: str
    plugin: Path


def find_emulator(builder: Builder, root: Path, cpu: str) -> CountingEmulator:
    """Find the machine's qemu-aarch64 and the newest plugin that it loads.

    The plugin is tested on `root`'s Python.

    Raises:
        HostError: The program is missing, or loads no plugin: static ones, such as Debian 13's
            qemu-user and any qemu-user-static, cannot.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise HostError(
            f"counting needs QEMU's user-mode emulator, but there is no {PROGRAM}",
            hint="sudo apt-get install qemu-user",
        )
    version = run([program, "--version"], deadline_s=_DEADLINE_S).stdout.partition("\n")[0]
    if "-plugin" not in run([program, "-h"], deadline_s=_DEADLINE_S).stdout:
        raise HostError(
            f"{version} at {program} loads no plugins: it is static",
            hint="put a dynamic qemu-aarch64 first in the PATH, such as that of Debian 12's "
            "packages qemu-user and libcapstone4, which runs on Debian 13 too",
        )
    message = ""
    for api in API_VERSIONS:
        plugin = builder.counter(api)
        python = [str(root / "usr/bin/python3.9"), "--version"]
        tried = run(
            [program, "-plugin", str(plugin), "-L", str(root), *python],
            env=emulation.environment(cpu),
            deadline_s=_DEADLINE_S,
            check=False,
        )
        if tried.returncode == 0:
            return CountingEmulator(program=program, version=version, plugin=plugin)
        message = tried.last_lines()
    raise HostError(
        f"{version} does not load the counter: {message}", hint="count with Debian 12's QEMU 7.2"
    )


class Counter:
    """Count networks for one device, each once; earlier counts come from the cache.

    Args:
        device: The device whose CPU executes.
        builder: Builds the image and the plugin.
        cache_model: Model the core's data caches too.
        cycles: Put the blocks that ran through the scoreboard of the core too.
        blas: The BLAS of Caffe.
        blas_core: The core whose kernels OpenBLAS takes; None is the device's.
    """

    def __init__(
        self,
        device: Device,
        builder: Builder,
        *,
        cache_model: bool = True,
        cycles: bool = False,
        blas: Blas = "openblas",
        blas_core: str | None = None,
    ) -> None:
        self.device = device
        self.builder = builder
        self.cache_model = cache_model
        self.core = load_core(device.cpu) if cycles else None
        if cycles:
            # It may lack its decoder, and counting takes minutes.
            executed.check()
        self.blas = blas
        self.blas_core = blas_core or _CORES.get(device.cpu, "ARMV8")
        self._emulator: CountingEmulator | None = None

    def count(self, network: Network, protocol: Protocol = "caffe-time") -> NetworkCounts:
        """Return the counts of one forward pass in the phase of `protocol`.

        Raises:
            HostError: This machine cannot count, or the run failed.
        """
        return stored(self.parts(network, protocol), lambda: self._run(network, protocol))

    def parts(self, network: Network, protocol: Protocol = "caffe-time") -> dict[str, Any]:
        """Return everything that the counts depend on; it is their cache key."""
        own: dict[str, Any] = {}
        if self.core is not None:
            own["scoreboard"] = executed.digest()
        if (self.blas, self.blas_core) != ("openblas", _CORES.get(self.device.cpu, "ARMV8")):
            own["blas"] = [self.blas, self.blas_core]
        if network.fork_layers:
            own["layers"] = self.builder.key("layers-arm64")
        return {
            **own,
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
            layers=parse(output, self.core),
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
            self._emulator = find_emulator(self.builder, root, self.device.qemu_cpu)
        plugin = str(self._emulator.plugin) + (",cache=on" if self.cache_model else "")
        plugin += ",blocks=on" if self.core is not None else ""
        preloaded = self.builder.other_blas("arm64", self.blas)
        if network.fork_layers:
            preloaded.append(self.builder.layers("arm64"))
        loader = RootLoader(root, "arm64")
        with scratch("count") as scratch_folder:
            folder = scratch_folder / "job"
            write_job(folder, [], Programs(program=[], python=[]), Libraries(), describe=False)
            model = folder / "models/counted.prototxt"
            model.write_text(network.prototxt, encoding="utf-8")
            spec = {"model": str(model), "seed": SEED, "training": protocol == "caffe-time"}
            command = [
                *(self._emulator.program, "-L", str(root)),
                *(("-plugin", plugin) if counting else ()),
                # Absolute links in the root point outside it.
                *("-E", f"LD_LIBRARY_PATH={loader.library_path}"),
                *(("-E", f"LD_PRELOAD={':'.join(map(str, preloaded))}") if preloaded else ()),
                *(str(root / "usr/bin/python3.9"), "-B", str(folder / PROBE)),
                *("--counted", json.dumps(spec)),
            ]
            env = {
                **loader.python_env(),
                **emulation.environment(self.device.qemu_cpu),
                "OPENBLAS_NUM_THREADS": "1",
                "OPENBLAS_CORETYPE": self.blas_core,
                "PYTHONHASHSEED": "0",
            }
            return run(sandboxed(command), env=env, deadline_s=DEADLINE_S).stdout


def parse(output: str, core: Core | None = None) -> tuple[LayerCounts, ...]:
    """Parse the layers' counts from the output of probe and counter; cycles are those of `core`.

    Raises:
        HostError: The output is incomplete, or more than one thread ran.
    """
    layers: list[dict[str, str]] = []
    stretches: dict[int, dict[str, int]] = {}
    summary: dict[str, Any] = {}
    blocks: dict[int, executed.Block] = {}
    runs: dict[int, Tally[int]] = defaultdict(Tally)
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
        elif line.startswith(_BLOCK):
            found = json.loads(line.removeprefix(_BLOCK))
            if "mark" in found:
                runs[found["mark"]].update(dict(found["runs"]))
            else:
                words = bytes.fromhex(found["words"])
                # As in memory: the lowest byte of each word first.
                code = array("I", words)
                code.byteswap()
                blocks[found["block"]] = executed.Block(found["address"], code.tobytes())
    if not layers or not summary or not stretches.keys() >= set(range(len(layers))):
        raise HostError(
            "the counted run ended before all counts were written",
            hint="check the image: pibench image verify",
        )
    if summary["threads"] != 1 or summary["full"]:
        raise HostError(
            f"the counts are not reliable: {summary['threads']} threads ran, "
            f"{summary['blocks']} blocks were translated"
        )
    cycles: Mapping[int, float] = {}
    if core is not None:
        if not runs.keys() >= set(range(len(layers))):
            raise HostError("the counted run wrote no blocks of some layers")
        cycles = executed.cycles_of(blocks, runs, core)
    return tuple(
        LayerCounts(
            name=layer["name"],
            type=layer["type"],
            counts=Counts(**stretches[index], issue_cycles=cycles.get(index)),
        )
        for index, layer in enumerate(layers)
    )


def stored(parts: Mapping[str, Any], count: Callable[[], NetworkCounts]) -> NetworkCounts:
    """Return the counts for the key `parts`, counted if they are not in the cache yet."""
    found = known_counts(parts)
    if found is not None:
        return found
    counts = count()
    cache.keep_values(_path(parts), counts.as_dict(), "is counted each time")
    return counts


def known_counts(parts: Mapping[str, Any]) -> NetworkCounts | None:
    """Return the counts for the key `parts`; None where the cache has none."""
    kept = cache.kept_values(_path(parts))
    return NetworkCounts.from_dict(kept) if kept is not None else None


def _path(parts: Mapping[str, Any]) -> Path:
    key = fingerprint({"format": FORMAT, **parts})
    return settings.cache_dir() / "counts" / f"{key[:16]}.json"
