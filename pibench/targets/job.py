"""The folder that a probe starts from: the probe itself, the networks, and the job file.

The folder that `write_job` makes can be copied and run wherever there is a Python: on a board too.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pibench.engines.base import PROGRAM, Engine
from pibench.engines.caffe import CAFFE
from pibench.engines.registry import engine_of
from pibench.errors import InvalidInputError
from pibench.images import layers
from pibench.images.blas import FORKS_LIBRARY, loops_beside
from pibench.images.carried import loader_at, short, unpacked_bytes
from pibench.images.recipe import file_sha256, fingerprint
from pibench.process import run
from pibench.setups import Blas, parameters
from pibench.targets.base import BaselineKey, Job
from pibench.targets.emulation import cpu_report_program

if TYPE_CHECKING:
    from pibench.images.build import Builder
    from pibench.images.recipe import Architecture

PROBE = "probe/run.py"
FOLDER: Final = "{folder}"
"""Placeholder for the job's own folder in a job."""
_PROBE = Path(__file__).resolve().parent.parent / "probe"
_CPU_REPORT: Final = "cpu-report"
_MODULES: Final = "modules"
"""The folder of an engine's Python modules in a job."""
CPU_REPORT: Final = f"{FOLDER}/{_CPU_REPORT}"
_ITEM_FIELDS: Final = (
    *("id", "protocol", "compute", "threads", "timeout_s", "iterations", "warmup", "repeats"),
    *("seed", "keep"),
)
"""The fields of a piece of work that the probe gets as they are."""
ByteCode = Mapping[Path, bytes]
"""Files with the probe's byte code, by their paths in its folder."""
_NO_BYTE_CODE: Final[ByteCode] = {}
_COMPILE_DEADLINE_S: Final = 60.0
PROBE_BYTES: Final = 1 << 20
"""Upper bound for the size of the probe's own files."""
ROOTS: Final = "roots"
"""Where pibench's root is, under its key, in pibench's folder on a board."""


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Command line prefixes of the engine's program and of Python in the target.

    `{program}` (PROGRAM) in `program` stands for the path of the engine's program in a root
    file system, or for its name where `origin` is the system.

    `{folder}` (FOLDER) in any of them stands for the job's own folder, wherever that is
    when the probe starts. `origin` is the owner of the engine: the system, or pibench's
    root, whose digest is `lock`.
    `address_space_bytes` limits a child's address space, for targets that run
    on a machine with other tasks. `env_option` is the option by which
    an emulator of the host sets a variable for its guest's dynamic loader.
    `huge_pages_off` is for machines that stand for a board, which has no huge pages.
    `cpu_report` is CPU_REPORT where the kernel starts an emulator for the engine but not for
    the probe: the CPU that the engine sees is then reported by that program.
    """

    program: Sequence[str]
    python: Sequence[str]
    origin: Literal["system", "root"] = "root"
    lock: str | None = None
    address_space_bytes: int | None = None
    env_option: str | None = None
    huge_pages_off: bool = False
    cpu_report: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    def as_json(self, engine: Engine) -> dict[str, Any]:
        """Return the programs of an engine in the format that the probe reads."""
        program = engine.program_name if self.origin == "system" else engine.program
        parts = [part.replace(PROGRAM, program) for part in self.program] if program else []
        return {**asdict(self), "program": parts}


SYSTEM: Final = Programs(program=[PROGRAM], python=["{python}"], origin="system")
"""The engine that is installed on the board."""


def root_programs(root: str, lock: str) -> Programs:
    """Return the Caffe of pibench's root.

    Args:
        root: where the root is on the board; `{folder}/...` is within the job's folder.
        lock: the digest of the packages that the root is made of.
    """
    loader = loader_at(root)
    return Programs(
        program=loader.command(PROGRAM),
        python=loader.python(),
        origin="root",
        lock=lock,
        env=loader.python_env(),
    )


@dataclass(frozen=True, kw_only=True)
class Libraries:
    """Libraries on this machine that are copied into a job, to be preloaded there.

    `memory_only` is for items of that compute; the stand-ins for Caffe's own loops, if any, are
    in the same folder. `other` replaces OpenBLAS
    in all items, loaded in this order. In the job they are in a folder called `name`,
    by which the probe recognizes them (`origin` in pibench/probe/machine.py). `fork_layers` is for
    networks with layers of Caffe's forks. `modules` is the folder of an engine's Python modules.
    """

    memory_only: Path | None = None
    name: Blas = "openblas"
    other: Sequence[Path] = ()
    fork_layers: Path | None = None
    modules: Path | None = None

    def digests(self) -> list[str]:
        """Return the SHA-256 of each library, in a fixed order, without an engine's modules."""
        stand_ins = loops_beside(self.memory_only)[0] if self.memory_only else None
        files = (self.memory_only, stand_ins, *self.other, self.fork_layers)
        return [file_sha256(path) for path in files if path is not None]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """The names of the libraries in a job's folder, each list in the order of loading."""

    memory_only: list[str]
    other: list[str]
    fork_layers: list[str]

    def preload(self, kind: Job | BaselineKey) -> list[str]:
        """Return the libraries that a program of this kind preloads."""
        blas = self.memory_only if kind.compute == "memory-only" else self.other
        return blas + (self.fork_layers if kind.fork_layers else [])


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a probe measures of the programs themselves: see `calibrate` in probe/job.py."""

    kinds: Sequence[BaselineKey]
    repeats: int
    fill_bytes: int | None

    def as_json(self, libraries: Placed) -> dict[str, Any]:
        """Return the measurements in the format that the probe reads."""
        run = {
            "iterations": 1,
            "warmup": 0,
            "repeats": 1,
            "seed": 0,
            "keep": [],
            "ends": None,
            "layers": None,
        }
        kinds = [asdict(kind) | run | _surroundings(kind, libraries) for kind in self.kinds]
        return {**asdict(self), "kinds": kinds}


def _surroundings(kind: Job | BaselineKey, libraries: Placed) -> dict[str, Any]:
    """Return what a program of this kind preloads, and the variables of its set-up."""
    return {
        "preload": libraries.preload(kind),
        "env": parameters(kind.setup).environment,
    }


def byte_code_of_probe(python: Sequence[str]) -> ByteCode:
    """Return the probe's byte code for a Python of this machine, given its command line prefix.

    Empty where that Python cannot compile it.
    """
    with tempfile.TemporaryDirectory(prefix="pibench-") as folder:
        copy = Path(folder) / "probe"
        shutil.copytree(_PROBE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        # With a hash of the source in each file: an engine's part of the probe is replaced.
        options = ["-q", "--invalidation-mode", "checked-hash", "-s", folder]
        command = [*python, "-I", "-S", "-m", "compileall", *options, str(copy)]
        run(command, deadline_s=_COMPILE_DEADLINE_S, check=False)
        return {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*.pyc")}


def probe_digest() -> str:
    """Return the SHA-256 of the probe's source: another probe may measure differently."""
    sources = sorted(_PROBE.rglob("*.py"))
    return fingerprint(
        [(path.relative_to(_PROBE).as_posix(), file_sha256(path)) for path in sources]
    )


def engine_key(name: str) -> list[str]:
    """Return what identifies an engine: its name, its part of the probe, its wheel's version."""
    engine = engine_of(name)
    # Another version is another program, and its id has not changed.
    version = [engine.wheel_version] if engine.wheel else []
    return [name, file_sha256(engine.probe_module), *version]


def write_job(
    folder: Path,
    work: Sequence[Job],
    programs: Programs,
    blas: Libraries,
    *,
    otherwise: Sequence[Programs] = (),
    describe: bool = True,
    measure: Measure | None = None,
    byte_code: ByteCode = _NO_BYTE_CODE,
    mapped: Sequence[str] = (),
    forks: bool = False,
    places: bool = False,
) -> Path:
    """Fill `folder` and return the job file in it.

    Args:
        folder: an existing folder.
        work: the networks to run.
        programs: the programs to run them with.
        blas: the libraries to preload.
        otherwise: further programs, in order; the probe takes the first that works
            where it runs, and reports which.
        describe: whether the probe also reports which engine it runs and measures the
            programs with no network; otherwise the target knows both already.
        measure: what to measure of the programs themselves, if anything.
        byte_code: the probe's, for the Python that will run it: see `byte_code_of_probe`.
        mapped: the files of the programs where they run, read before anything is measured.
        forks: whether the program is loaded once and forked for each network (see `can_fork`).
        places: whether the probe asks for each network, and for a control group for its process.
    """
    (folder / "models").mkdir(parents=True)
    # The pipe at which a program waits for its network (bare_item in probe/programs.py).
    os.mkfifo(folder / "models/none")
    (folder / "models/none").chmod(0o666)
    shutil.copytree(_PROBE, folder / "probe", ignore=shutil.ignore_patterns("__pycache__"))
    for name, content in byte_code.items():
        (folder / "probe" / name).parent.mkdir(exist_ok=True)
        (folder / "probe" / name).write_bytes(content)
    kinds = measure.kinds if measure else [piece.baseline_key for piece in work]
    (engine_name,) = {kind.engine for kind in kinds} or {CAFFE.id}
    engine = engine_of(engine_name)
    shutil.copy(engine.probe_module, folder / f"probe/engines/{engine.id}.py")
    if blas.modules is not None and any(one.origin == "root" for one in (programs, *otherwise)):
        _link_tree(blas.modules, folder / _MODULES)
        programs, otherwise = _with_modules(programs), [_with_modules(one) for one in otherwise]
    loops, why_no_loops = loops_beside(blas.memory_only) if blas.memory_only else (None, None)
    libraries = Placed(
        memory_only=_copied(folder, blas.memory_only, loops),
        other=_copied(folder, *blas.other, under=blas.name),
        fork_layers=_copied(folder, blas.fork_layers),
    )
    if programs.cpu_report is not None:
        (folder / _CPU_REPORT).write_bytes(cpu_report_program())
        (folder / _CPU_REPORT).chmod(0o755)
    items = []
    for piece in work:
        item = {name: getattr(piece, name) for name in _ITEM_FIELDS}
        item |= _surroundings(piece, libraries) | _put_files(folder, piece, engine)
        item["ends"] = None if piece.ends is None else asdict(piece.ends)
        items.append(item)
    job = {
        "engine": engine.id,
        "label": engine.label,
        "settings": dict(engine.chosen),
        "trials": trials(engine, work),
        "programs": [candidate.as_json(engine) for candidate in (programs, *otherwise)],
        "why_no_loops": why_no_loops,
        "other_blas": libraries.other,
        "describe": describe,
        "baselines": describe,
        "mapped": list(mapped),
        "forks": forks,
        "places": places,
        "calibrate": measure.as_json(libraries) if measure else None,
        "items": items,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    for entry in [folder, *folder.rglob("*")]:
        # An unprivileged child reads this in the guest. A linked file belongs to the user.
        if not _is_readable_by_all(entry):
            entry.chmod(0o755 if entry.is_dir() else 0o644)
    return path


def can_fork(work: Sequence[Job]) -> bool:
    """Return whether one loaded program can be forked for several networks."""
    return len(work) > 1 and all(is_forkable(one) for one in work)


def is_forkable(kind: Job | BaselineKey) -> bool:
    """Return whether the library that forks a program is in this one: memory-only Caffe."""
    return (kind.engine, kind.protocol, kind.compute) == (CAFFE.id, "caffe-time", "memory-only")


def _put_files(folder: Path, piece: Job, engine: Engine) -> dict[str, str | None]:
    """Put the files of one network into the job's folder; return their paths there by key."""
    stem = f"models/{piece.id}"
    paths: dict[str, str | None] = dict.fromkeys(("weights", "inputs", "layers"))
    model = f"{stem}{piece.files[0].suffix.lower() if piece.files else engine.model_suffix}"
    if piece.beside:
        # A folder of its own: two models may have files of one name beside them.
        model = f"{stem}/{piece.files[0].name}"
    weights = piece.weights
    if piece.files:
        (folder / model).parent.mkdir(exist_ok=True)
        _link(piece.files[0], folder / model)
        weights = piece.files[1] if piece.files[1:] else None
        for location, file in piece.beside:
            into = folder / stem / location
            into.parent.mkdir(parents=True, exist_ok=True)
            _link(file, into)
    else:
        engine.write_model(piece.prototxt, folder / model)
    if weights is not None:
        paths["weights"] = f"{stem}{engine.weights_suffix}"
        _link(weights, folder / f"{stem}{engine.weights_suffix}")
    if piece.inputs is not None:
        paths["inputs"] = f"{stem}.npz"
        shutil.copyfile(piece.inputs, folder / f"{stem}.npz")
    if piece.layers:
        # In a file: the program's command line has no room for a thousand of them.
        paths["layers"] = f"{stem}.layers.json"
        listed = json.dumps([asdict(blob) for blob in piece.layers])
        (folder / f"{stem}.layers.json").write_text(listed)
    return paths | {"model": model}


def is_described(work: Sequence[Job]) -> bool:
    """Return whether a probe has to report its engine and measure the bare program."""
    return not work or not all(piece.values_only for piece in work)


def libraries_for(
    builder: Builder, architecture: Architecture, work: Sequence[Job], *, forks: bool = False
) -> Libraries:
    """Return the libraries that the work has to preload; build or fetch them where needed.

    With `forks` the memory-only BLAS is the one by which a program can be forked. A target has the
    same one for all of its work: peaks of small networks depend on which it is.
    Raises HostError where that is not possible.
    """
    (blas,) = {piece.blas for piece in work} or {"openblas"}
    (engine,) = {piece.engine for piece in work} or {CAFFE.id}
    memory_only = None
    if any(piece.compute == "memory-only" for piece in work):
        memory_only = builder.blas(architecture)
        if forks:
            memory_only = memory_only.with_name(FORKS_LIBRARY)
    return Libraries(
        memory_only=memory_only,
        name=blas,
        other=builder.other_blas(architecture, blas),
        fork_layers=builder.layers(architecture)
        if any(piece.fork_layers and piece.engine == CAFFE.id for piece in work)
        else None,
        modules=builder.engine(architecture, engine),
    )


def _with_modules(programs: Programs) -> Programs:
    """Return the programs with the engine's modules on Python's path; a system has its own."""
    if programs.origin == "system":
        return programs
    return replace(programs, env={**programs.env, "PYTHONPATH": f"{FOLDER}/{_MODULES}"})


def _copied(folder: Path, *libraries: Path | None, under: str = "") -> list[str]:
    """Copy libraries into the job's folder, or into one in it; return their names in the job."""
    names = []
    for library in filter(None, libraries):
        name = f"{under}/{library.name}" if under else library.name
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy2(library, folder / name)
        names.append(name)
    return names


def _link_tree(source: Path, into: Path) -> None:
    for path in sorted(source.rglob("*")):
        place = into / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            _link(path, place)


def _link(file: Path, place: Path) -> None:
    """Give a file a second name, or copy it where that is not possible."""
    source = file.resolve()
    if not source.exists():
        raise InvalidInputError.at(file, None, "is gone", hint="put it back, and run again")
    try:
        # A second name costs nothing, and weights may be half a gigabyte.
        if _is_readable_by_all(source):
            os.link(source, place)
            return
    except OSError:
        pass
    shutil.copy2(source, place)


def _is_readable_by_all(path: Path) -> bool:
    wanted = 0o555 if path.is_dir() else 0o444
    return path.stat().st_mode & wanted == wanted


def trials(
    engine: Engine, work: Sequence[Job], architecture: Architecture = "arm64"
) -> list[list[str]]:
    """Return short commands that all succeed where the engine can do this work."""
    needed = engine.trials({piece.protocol for piece in work})
    if any(piece.fork_layers for piece in work):
        needed.append(layers.trial(architecture))
    return needed


def needs(
    trials: Sequence[Sequence[str]],
    folder: str,
    *,
    job_bytes: int,
    root_key: str | None,
    engine: Engine = CAFFE,
) -> dict[str, Any]:
    """Return the input of probe/check.py: what a job with these trials needs on the board.

    `root_key` is the key of pibench's root, None where that is not available.
    """
    return {
        "label": engine.label,
        "trials": [
            [(engine.program_name or "") if part == PROGRAM else part for part in trial]
            for trial in trials
        ],
        "folder": folder,
        "job_bytes": job_bytes,
        "root_bytes": unpacked_bytes(root_key) if root_key else None,
        "root_key": short(root_key) if root_key else None,
    }


def pack(job: Path, archive: Path) -> None:
    """Pack a job's folder as a plain tar: weights do not compress.

    The pipe among its models, which archives do not carry well, is made again by the probe.
    """
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(job.rglob("*")):
            if path.is_file():
                tar.add(path, arcname=path.relative_to(job).as_posix())


def job_bytes(work: Sequence[Job]) -> int:
    """Return the approximate size of a job's folder; the weights are most of it."""
    models = sum(len(piece.prototxt) for piece in work)
    files = [file for piece in work for file in piece.files or filter(None, [piece.weights])]
    files += [file for piece in work for _, file in piece.beside]
    return PROBE_BYTES + models + sum(file.stat().st_size for file in files)
