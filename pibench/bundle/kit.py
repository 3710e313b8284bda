"""Make a bundle: a job's folder, the program that runs it on a board, and a manifest of both.

The manifest lists the files of the bundle, the options of the run, and what records contain about
its networks. Its SHA-256 identifies the bundle: a board's results refer to it, and the manifest
stays in the cache of the machine that made the bundle.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, NonNegativeInt, field_validator

from pibench import cache, settings
from pibench._version import __version__
from pibench.engines.caffe import CAFFE
from pibench.engines.registry import engine_of
from pibench.errors import InvalidInputError
from pibench.file_io import writing_whole
from pibench.images.archive import add, compressed_tar_into, member
from pibench.images.build import Builder
from pibench.images.recipe import file_sha256
from pibench.records.fields import Frozen, Sha256
from pibench.runner.jobs import NetworkFacts, facts_of, job_of, new_job
from pibench.runner.options import RunOptions
from pibench.targets.base import Job
from pibench.targets.job import ROOTS, SYSTEM, libraries_for, root_programs, write_job
from pibench.targets.local import refuse_other_blas
from pibench.targets.sandbox import scratch

if TYPE_CHECKING:
    from pibench.images.carried import CarriedRoot
    from pibench.networks.network import Network

NAME: Final = "manifest.json"
TOP: Final = "pi-kit"
"""The top folder of the archive."""
ROOT_ARCHIVE: Final = "root.tar.gz"
# Weights hardly compress, and Caffe is already compressed: a higher level has no benefit.
_LEVEL: Final = 1
_START: Final = "probe/start_kit.py"
_RUN: Final = "run.py"
_README: Final = "README.txt"
_MIB: Final = 2**20
_GZIP: Final = b"\x1f\x8b"


class KitFile(Frozen):
    """A file of the bundle, by its path below the bundle's folder."""

    path: str
    sha256: Sha256
    size_bytes: NonNegativeInt

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\0" in path:
            raise ValueError("is not a path inside the bundle")
        return path


class KitCaffe(Frozen):
    """pibench's Caffe in the bundle: see CarriedRoot in pibench/images/carried.py."""

    archive: str = ROOT_ARCHIVE
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    sha256: Sha256
    unpacked_bytes: NonNegativeInt
    lock: Sha256


class KitNetwork(NetworkFacts):
    """A network of the bundle, as records describe it, with its id in the job."""

    id: str


class Manifest(Frozen):
    """A bundle; equal networks, options and pibench versions give an equal manifest."""

    format: Literal["pibench-kit"] = "pibench-kit"
    version: Literal[2] = 2
    pibench_version: str = __version__
    options: RunOptions
    networks: tuple[KitNetwork, ...]
    caffe: KitCaffe | None
    files: tuple[KitFile, ...]

    def text(self) -> bytes:
        """Return the text as stored in the bundle, in ASCII, the only encoding some boards have."""
        return json.dumps(self.model_dump(mode="json"), indent=1).encode("ascii") + b"\n"

    def job_of(self, network: KitNetwork) -> Job:
        """Return the job that ran on the board; its files are not on this machine."""
        return new_job(self.options, id=network.id, name=network.name, prototxt="", weights=None)


def digest_of(text: bytes) -> str:
    """Return the id of the bundle."""
    return hashlib.sha256(text).hexdigest()


def remember(text: bytes) -> None:
    """Store a manifest, for later results."""
    path = _stored(digest_of(text))
    cache.keep_if_possible(
        path, lambda partial: partial.write_bytes(text), "takes `pibench import --bundle BUNDLE`"
    )


def remembered(digest: str) -> bytes | None:
    """Return the text of a stored manifest; None if it is missing or was changed."""
    try:
        text = _stored(digest).read_bytes()
    except OSError:
        return None
    return text if digest_of(text) == digest else None


def _stored(digest: str) -> Path:
    return settings.cache_dir() / "kits" / f"{digest}.json"


@dataclass(frozen=True, kw_only=True)
class Kit:
    """A bundle that was written; `sha256` is the archive's, `digest` the manifest's."""

    path: Path
    manifest: Manifest
    digest: str
    sha256: str
    size_bytes: int

    def __repr__(self) -> str:
        names = ", ".join(network.name for network in self.manifest.networks)
        return f"<bundle {self.path}, {self.size_bytes:,} bytes: {names}>"


def write_kit(
    loaded: Sequence[Network],
    options: RunOptions,
    out: Path,
    *,
    root: CarriedRoot | None,
    builder: Builder | None = None,
) -> Kit:
    """Pack networks, and Caffe if there is a `root`, into the .tar.gz `out`.

    The same networks, options, root and version of pibench give the same bytes. `builder` builds
    the layers of Caffe's forks, where a network needs them.

    Raises:
        InvalidInputError: if `out` is not a valid output path, or a network is given twice.
        HostError: if it cannot be written.
    """
    if out.is_dir():
        raise InvalidInputError.at(out, None, "is a directory", hint="name a file: -o kit.tar.gz")
    if not _may_be_replaced(out):
        raise InvalidInputError.at(
            out, None, "exists and is not a bundle", hint="name another file: -o kit.tar.gz"
        )
    if not out.name.endswith((".tar.gz", ".tgz")):
        # The recipient of kit.zip would try to unzip it.
        raise InvalidInputError.at(
            out, None, "a bundle is a compressed tar", hint="end the name in .tar.gz or .tgz"
        )
    seen = set()
    for network in loaded:
        if network.sha256 in seen:
            raise InvalidInputError(
                f"{network.name} is given twice", hint="name each network once: it runs once"
            )
        seen.add(network.sha256)
    # The board's CPU computes. Paths of this machine are left out.
    options = replace(
        options,
        target="native",
        compute="real",
        threads=options.effective_threads,
        jobs=None,
        blobs=None,
        identity=None,
        remote_dir=None,
        weights=None,
    )
    options = replace(options, timeout_s=options.effective_timeout_s)
    for network in loaded:
        options.check(network)
    jobs = [job_of(index, network, options) for index, network in enumerate(loaded)]
    refuse_other_blas(jobs)
    networks = tuple(
        KitNetwork(id=job.id, **facts_of(network, job).model_dump())
        for network, job in zip(loaded, jobs, strict=True)
    )
    libraries = libraries_for(builder or Builder(), "arm64", jobs)
    with scratch("bundle") as folder:
        top = folder / TOP
        otherwise = [root_programs(f"{{folder}}/{ROOTS}/{root.key}", root.lock)] if root else []
        write_job(top, jobs, SYSTEM, libraries, otherwise=otherwise)
        (top / _START).rename(top / _RUN)
        (top / _RUN).chmod(0o755)
        (top / _README).write_text(_readme(networks, options, root), encoding="ascii")
        # Regular files: the pipe among the models is created where the job runs.
        files = {
            path.relative_to(top).as_posix(): path for path in top.rglob("*") if path.is_file()
        }
        if root is not None:
            files[ROOT_ARCHIVE] = root.archive
        manifest = Manifest(
            options=options,
            networks=networks,
            caffe=KitCaffe(
                key=root.key, sha256=root.sha256, unpacked_bytes=root.unpacked_bytes, lock=root.lock
            )
            if root
            else None,
            files=tuple(
                KitFile(path=name, sha256=file_sha256(path), size_bytes=path.stat().st_size)
                for name, path in sorted(files.items())
            ),
        )
        # First: without the stored manifest, the bundle's results could not be imported here.
        remember(manifest.text())
        _write(out, manifest, files)
    return Kit(
        path=out,
        manifest=manifest,
        digest=digest_of(manifest.text()),
        sha256=file_sha256(out),
        size_bytes=out.stat().st_size,
    )


def _may_be_replaced(out: Path) -> bool:
    """Return whether `out` is absent or an earlier archive: not a device, link or record file.

    As root, a rename onto /dev/stdout, which is a link, would replace it for all users.
    """
    if out.is_symlink():
        return False
    if not out.exists():
        return True
    try:
        if not out.is_file():
            return False
        with out.open("rb") as file:
            return file.read(len(_GZIP)) in (_GZIP, b"")
    except OSError:
        return False


def _write(out: Path, manifest: Manifest, files: dict[str, Path]) -> None:
    text = manifest.text()
    with writing_whole(out) as stream, compressed_tar_into(stream, level=_LEVEL) as tar:
        # First, so that a reader of the manifest need not read through the weights.
        tar.addfile(member(f"{TOP}/{NAME}", size_bytes=len(text)), io.BytesIO(text))
        for name, path in sorted(files.items()):
            add(tar, path, f"{TOP}/{name}")


def _readme(networks: Sequence[KitNetwork], options: RunOptions, root: CarriedRoot | None) -> str:
    template = (Path(__file__).parent / "for_the_board.txt").read_text(encoding="ascii")
    listed = "\n".join(
        f"  {one.name.encode('ascii', 'backslashreplace').decode()}" for one in networks
    )
    engine = engine_of(options.engine)
    install = engine.install_hint
    if engine.id == CAFFE.id:
        install = "sudo apt-get install caffe python3-caffe (Debian 11)"
    caffe = (
        f"{engine.label} is in it: {root.unpacked_bytes // _MIB} MiB\nare unpacked here, unless "
        f"the board has a {engine.label} of its own. It needs a 64-bit kernel."
        if root
        else f"The board's own\n{engine.label} is used: {install}."
    )
    return template.format(
        engine=engine.label,
        caffe=caffe,
        networks=listed,
        protocol=options.protocol,
        device=options.profile.name,
    )
