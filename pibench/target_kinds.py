"""Facts about each target, in one place: what its records mean, and what it needs of the host.

Nothing here runs a network, so that records are read and compared without their target. Another
package adds a target through `pibench.targets.registry`; see docs/extending.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pibench.records.schema import Enforcer, ProvenanceKind

Machine = Literal["virt", "raspi3b"]
"""The machines that target vm emulates."""
ENTRY_POINTS: Final = "pibench.targets"
"""The group of entry points by which installed packages add targets."""
_LAST_RANK: Final = 99


@dataclass(frozen=True, kw_only=True)
class TargetKind:
    """What a target is. The defaults are cautious: they claim nothing about a board.

    Attributes:
        name: the value of `--target` and of the field `target` of a record.
        summary: why `--target auto` takes it, in one line.
        provenance: the kind of its figures; `measured` is only for real boards.
        boundary: what limits a network to the device's memory: a board's own memory, that of a
            guest machine, a control group or watcher around the process, or nothing.
        enforced_by: what enforces the boundary if that is the same in every run.
        emulation: whether an emulator runs the network: never, always, or only on hosts of
            another architecture than the board's.
        architecture: of its packages; None for the architecture of the machine that runs it.
        emulators: emulator programs on the host; the first one that is installed is used.
        images: the kinds of image that its runs use, its own first.
        machines: the values of `--machine`, the default first.
        address: the form of its address, such as `ssh://USER@HOST`, if it needs one.
        runs_elsewhere: whether its networks use the memory of another machine.
        memory_only: whether it can run memory-only compute.
        cut_short: whether a network that is killed has its peak measured on the twin.
        worker_tag: the tag of Dask workers for it; None is its name, or a board's device.
        board_distance: its rank by closeness to a board; 0 is the closest.
        auto_rank: its rank for `--target auto`; None is never taken.
        installed: whether this pibench knows the target; else the record's own fields count.
    """

    name: str
    summary: str = ""
    provenance: ProvenanceKind = "emulated"
    boundary: Literal["board", "guest", "group", "none"] = "none"
    enforced_by: Enforcer | None = None
    emulation: Literal["never", "other-hosts", "always"] = "never"
    architecture: Literal["arm64", "amd64"] | None = None
    emulators: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    machines: tuple[Machine, ...] = ()
    address: str | None = None
    runs_elsewhere: bool = False
    memory_only: bool = True
    cut_short: bool = False
    worker_tag: str | None = None
    board_distance: int = _LAST_RANK
    auto_rank: int | None = None
    installed: bool = True

    @property
    def is_board(self) -> bool:
        """Whether its machine is meant to be a board."""
        return self.boundary == "board"

    @property
    def is_whole_machine(self) -> bool:
        """Whether the whole machine that runs the network stands for the device."""
        return self.boundary in ("board", "guest")

    @property
    def scheme(self) -> str | None:
        """The part of an address up to `://`; None for a target without addresses."""
        return self.address.partition("://")[0] + "://" if self.address else None

    def provenance_of_run(self, *, emulated: bool) -> ProvenanceKind:
        """Return the provenance of a run's figures.

        On an arm64 host some targets need no emulator, and a supposed board may be an emulated one.
        """
        if self.is_board:
            return "emulated" if emulated else self.provenance
        if self.emulation == "other-hosts" and not emulated:
            return "measured"
        return self.provenance

    def tag(self, device: str) -> str:
        """Return the tag that a Dask worker needs to run it for a device."""
        return self.worker_tag or (device if self.is_board else self.name)


_USER_MODE: Final = ("qemu-aarch64", "qemu-aarch64-static")

_BUILT_IN: Final = (
    TargetKind(
        name="vm",
        summary="a machine of its own, whose kernel decides what fits",
        boundary="guest",
        enforced_by="kernel",
        emulation="always",
        architecture="arm64",
        emulators=("qemu-system-aarch64",),
        images=("vm", "twin"),
        machines=("virt", "raspi3b"),
        cut_short=True,
        board_distance=0,
        auto_rank=1,
    ),
    TargetKind(
        name="container",
        summary="the Engine's cgroup limits it to the device's memory and cores",
        boundary="group",
        enforced_by="cgroup",
        emulation="other-hosts",
        architecture="arm64",
        emulators=_USER_MODE,
        images=("sysroot", "twin"),
        cut_short=True,
        worker_tag="docker",
        board_distance=1,
        auto_rank=2,
    ),
    TargetKind(
        name="sysroot",
        summary="the same programs under qemu-user, with no root and no daemon",
        boundary="group",
        emulation="other-hosts",
        architecture="arm64",
        emulators=_USER_MODE,
        images=("sysroot", "twin"),
        cut_short=True,
        board_distance=5,
        auto_rank=3,
    ),
    TargetKind(
        name="twin",
        summary="the same packages at full speed, judged by peak memory alone",
        provenance="twin",
        architecture="amd64",
        images=("twin",),
        board_distance=2,
        auto_rank=4,
    ),
    TargetKind(
        name="native",
        summary="this machine is the device",
        provenance="measured",
        boundary="board",
        memory_only=False,
        board_distance=4,
        auto_rank=0,
    ),
    TargetKind(
        name="ssh",
        summary="a board reached over SSH",
        provenance="measured",
        boundary="board",
        images=("carried", "twin"),
        address="ssh://USER@HOST",
        runs_elsewhere=True,
        memory_only=False,
        cut_short=True,
        worker_tag="ssh",
        board_distance=3,
    ),
)

_MEANT: Final = {
    **dict.fromkeys(("docker", "podman", "arm64"), "container"),
    **dict.fromkeys(("qemu", "emulator", "qemu-system", "virt", "raspi3b"), "vm"),
    **dict.fromkeys(("qemu-user", "qemu-aarch64", "user"), "sysroot"),
    **dict.fromkeys(("pi", "board", "ssh", "rpi", "rpi3b"), "ssh://pi@HOST"),
    **dict.fromkeys(("amd64", "x86", "x86-64"), "twin"),
    **dict.fromkeys(("local", "host", "localhost"), "native"),
}
"""What people call the targets."""

_kinds: Final = {kind.name: kind for kind in _BUILT_IN}
_failures: Final[dict[str, str]] = {}
_entry_points: dict[str, EntryPoint] | None = None


def built_in() -> tuple[TargetKind, ...]:
    """Return pibench's own targets; no entry points are read."""
    return _BUILT_IN


def add(kind: TargetKind) -> None:
    """Add a target's description; a target of the same name is replaced."""
    _kinds[kind.name] = kind
    _failures.pop(kind.name, None)


def names() -> tuple[str, ...]:
    """Return the names of all targets, pibench's own first; no plugin is loaded."""
    return tuple(dict.fromkeys((*_kinds, *_plugins())))


def installed() -> tuple[TargetKind, ...]:
    """Return all targets that work as plugins or belong to pibench; all plugins are loaded."""
    return tuple(kind for kind in map(kind_of, names()) if kind.installed)


def choices() -> tuple[str, ...]:
    """Return the values of `--target` except `auto`; an address stands for such a target."""
    return tuple(kind.address or kind.name for kind in installed())


def kind_of(name: str) -> TargetKind:
    """Return the target called `name`, or the cautious defaults for an unknown one."""
    if name not in _kinds and name not in _failures and name in _plugins():
        _load(name)
    return _kinds.get(name) or TargetKind(name=name, installed=False)


def kind_of_spec(spec: str) -> TargetKind:
    """Return the target that a value of `--target` means: a name, or an address `NAME://...`."""
    scheme, separator, _ = spec.partition("://")
    if not separator:
        kind = kind_of(spec)
        return kind if kind.address is None else TargetKind(name=spec, installed=False)
    # pibench's own come first, so that no plugin is loaded for them.
    found = (kind for kind in map(kind_of, names()) if kind.scheme == f"{scheme}://")
    return next(found, TargetKind(name=spec, installed=False))


def failure(name: str) -> str | None:
    """Return why the plugin of a target could not be loaded, None if there was no failure."""
    return _failures.get(name)


def problem(spec: str) -> str | None:
    """Return why a value of `--target` other than `auto` is not one, None if it is one."""
    if kind_of_spec(spec).installed:
        return None
    if (reason := failure(spec)) is not None:
        return f"the plugin of target {spec!r} cannot be loaded: {reason}"
    meant = _MEANT.get(spec.lower())
    suggestion = f"; did you mean {meant}?" if meant else ""
    return f"{spec!r} is not one of auto, {', '.join(choices())}{suggestion}"


def _plugins() -> dict[str, EntryPoint]:
    global _entry_points  # noqa: PLW0603  (read once, and only when a name is needed)
    if _entry_points is None:
        from importlib.metadata import entry_points  # noqa: PLC0415  (start-up time)

        _entry_points = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    return _entry_points


def _load(name: str) -> None:
    """Call the function of a plugin, which registers its target."""
    try:
        _plugins()[name].load()()
    except Exception as error:  # Records must stay readable, whatever a plugin raises.
        _failures[name] = f"{type(error).__name__}: {error}"
        return
    if name not in _kinds:
        _failures[name] = f"it registers no target called {name}"
