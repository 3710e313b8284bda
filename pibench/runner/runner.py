"""Run a list of networks; write each result as a record, and requested blobs, once they exist."""

from __future__ import annotations

import contextlib
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pibench import timings
from pibench.errors import HostError, first_of
from pibench.file_io import unreadable
from pibench.records.schema import KeptBlobs
from pibench.runner.jobs import facts_of, job_of
from pibench.runner.options import RunOptions
from pibench.runner.record import Context, record_of

if TYPE_CHECKING:
    from pibench.networks.model_file import Runnable
    from pibench.records.schema import Record
    from pibench.records.store import RecordStore
    from pibench.runner.reference import Reference
    from pibench.targets.base import KeptBlob, Outcome, Progress, Target


@dataclass(kw_only=True)
class Runner:
    """Runs networks on one target.

    With a `store` each record is on disk before the next network's is made; `reference` measures
    the peak of networks that were killed or refused memory. `on_outcome` is called with each
    outcome before its record is made, `on_record` with the record, `on_progress` with each
    progress report of the target.
    """

    target: Target
    options: RunOptions
    store: RecordStore | None = None
    reference: Reference | None = None
    on_outcome: Callable[[Outcome], None] = lambda _: None
    on_progress: Callable[[Progress], None] = lambda _: None
    on_record: Callable[[Record], None] = lambda _: None

    def run(self, networks: Sequence[Runnable]) -> list[Record]:
        """Run all networks and return their records in the order given.

        Records that were made before any error are in the store.

        Raises:
            InvalidInputError: the options cannot be met for one of the networks.
            HostError: the target cannot run anything.
        """
        for network in networks:
            self.options.check(network)
        jobs = [job_of(i, network, self.options) for i, network in enumerate(networks)]
        with timings.phase("prepare"):
            self.target.prepare(jobs)
        context = Context(device=self.options.profile, target=self.target)
        records: dict[str, Record] = {}
        before = [_state_of_files(network) for network in networks]

        def on_outcome(outcome: Outcome) -> None:
            self.on_outcome(outcome)
            network = networks[int(outcome.job.id)]
            if changed := before[int(outcome.job.id)] ^ _state_of_files(network):
                # Its hash and its outputs may be of two files.
                name = min(file.name for file, *_ in changed)
                outcome = replace(
                    outcome, result=None, died=f"{name} changed while it ran; run it again"
                )
            folder = self.options.blobs if self.options.keep else None
            blobs, failed = None, None
            try:
                blobs = dump_blobs(outcome, network.slug, folder) if folder else None
            except HostError as error:
                # The record is kept without them.
                failed = error
            record = self._record(network, outcome, context, blobs)
            records[outcome.job.id] = record
            try:
                if self.store is not None:
                    self.store.append(record)
            finally:
                # Also where it could not be written: it is all that is left of the run.
                self.on_record(record)
            if failed is not None:
                raise failed

        with timings.phase("networks"):
            self.target.run(jobs, on_outcome, self.on_progress)
        return [records[job.id] for job in jobs]

    def _record(
        self, network: Runnable, outcome: Outcome, context: Context, blobs: KeptBlobs | None
    ) -> Record:
        """Return the record; an inconclusive one if its figures contradict each other."""
        facts = facts_of(network, outcome.job)
        reference_peak = self.reference.peak if self.reference else None
        try:
            return record_of(facts, outcome, context, reference_peak, blobs)
        except ValidationError as error:
            died = f"the probe's figures make no record: {first_of(error)}"
            return record_of(facts, replace(outcome, result=None, died=died), context)


def _state_of_files(network: Runnable) -> set[tuple[Path, int, int, int]]:
    """Return size, time and place of each file of the user's that a run reads.

    Raises:
        InvalidInputError: One is gone.
    """
    from pibench.networks.model_file import ModelFile  # noqa: PLC0415  (start-up time)

    files = [network.weights] if network.weights else []
    if isinstance(network, ModelFile):
        files = [network.path, *network.data.values()]
    found = set()
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise unreadable(file, error) from None
        found.add((file, state.st_size, state.st_mtime_ns, state.st_ino))
    return found


def dump_blobs(outcome: Outcome, stem: str, folder: Path) -> KeptBlobs | None:
    """Write the outcome's blobs into `folder`; return None if none were requested or none arrived.

    The file's name contains its SHA-256, so that other values never overwrite it.
    Raises HostError if it cannot be written.
    """
    from pibench.images.recipe import file_sha256  # noqa: PLC0415  (start-up time)

    if not outcome.kept:
        return None
    blobs = by_layer(outcome.kept)
    partial = folder / f".{stem}.partial.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_npz(partial, blobs)
        sha256 = file_sha256(partial)
        path = folder / f"{stem}-{sha256[:12]}.npz"
        partial.rename(path)
    except OSError as error:
        raise HostError(
            f"{folder}: the blobs were not written: {error.strerror or error}",
            hint="give a folder on a disk with room: --blobs-dir",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    received = {blob.layer for blob in outcome.kept}
    return KeptBlobs(
        file=path.name,
        sha256=sha256,
        blobs=tuple(blobs),
        missing=tuple(layer for layer in outcome.job.keep if layer not in received),
    )


def write_npz(path: Path, blobs: Mapping[str, KeptBlob]) -> None:
    """Write blobs for `numpy.load`: the same bytes for the same blobs.

    An npz file is a zip file of npy files, format 1.0: https://numpy.org/neps/nep-0001-npy-format
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, blob in blobs.items():
            described = {"descr": "<f4", "fortran_order": False, "shape": blob.shape}
            # Values begin at a multiple of 64 bytes; 11 are not of the text: 10 before it, its end.
            text = repr(described).encode()
            text += b" " * (-(len(text) + 11) % 64) + b"\n"
            # Without a date, a member has that of 1980.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                member.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
                member.write(blob.content)


def by_layer(blobs: tuple[KeptBlob, ...]) -> dict[str, KeptBlob]:
    """Return the blobs by the layer's name, with the blob's name where a layer wrote several."""
    tops = Counter(blob.layer for blob in blobs)
    return {
        blob.layer if tops[blob.layer] == 1 else f"{blob.layer}:{blob.name}": blob for blob in blobs
    }
