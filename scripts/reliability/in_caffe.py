"""Pass mutated files, unchecked, to real Caffe: the twin's probe has to survive them.

Each file is a target's work as it is, whether the host accepts it or not. Its verdict is then
compared with how Caffe itself ended.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pibench import devices, networks
from pibench.errors import InvalidInputError
from pibench.images.build import Builder
from pibench.records.schema import Verdict
from pibench.runner.record import Context, observation_of
from pibench.targets.base import Job, Outcome
from pibench.targets.local import TwinTarget
from pibench.verdict import decide
from tests.wild import mutations

TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One file: the host's decision, Caffe's end, and the verdict.

    `refusal` is why the host refuses it, None where it does not; `ending` Caffe's exit status
    (a signal as a negative number), None if it was not seen; `last_words` its last output.
    """

    prototxt: str
    refusal: str | None
    ending: int | None
    last_words: str
    verdict: Verdict

    @property
    def is_wrong(self) -> bool:
        """A verdict of `fit` (or nearly) for what Caffe did not run to its end, or no end."""
        return self.ending != 0 and self.verdict in ("fit", "borderline")


def run(count: int, seed: int, builder: Builder | None = None) -> list[Seen]:
    """`count` files, half of them refused by the host, through one sweep of the twin."""
    target = TwinTarget(builder or Builder())
    with tempfile.TemporaryDirectory(prefix="pibench-fuzz-") as name:
        files, refusals = _files(count, seed, Path(name))
        works = [_work(index, *file, Path(name)) for index, file in enumerate(files)]
        outcomes: dict[str, Outcome] = {}
        target.prepare(works)
        target.run(works, lambda outcome: outcomes.update({outcome.job.id: outcome}), _unwatched)
        context = Context(device=devices.load("rpi3b"), target=target)
        return [_seen(outcomes[work.id], refusals[int(work.id)], context) for work in works]


def _unwatched(_: object) -> None:
    pass


def _files(
    count: int, seed: int, folder: Path
) -> tuple[list[tuple[str, bytes | None]], list[str | None]]:
    """Prototxts, every fourth good with a mutated caffemodel, and why the host refuses each."""
    random = Random(seed)
    files: list[tuple[str, bytes | None]] = []
    refusals: list[str | None] = []
    wanted = {True: count // 2, False: count - count // 2}
    while any(wanted.values()):
        prototxt, weights = random.choice(mutations.published()), None
        if random.random() < 0.25:
            prototxt = mutations.SMALL
            weights = mutations.mutated_weights(mutations.seeded(prototxt), random)
        else:
            prototxt = mutations.mutated_text(prototxt, random).decode("utf-8", "replace")
        refusal, prototxt = _taken(prototxt, weights, folder)
        if wanted[refusal is not None]:
            wanted[refusal is not None] -= 1
            files.append((prototxt, weights))
            refusals.append(refusal)
    return files, refusals


def _taken(prototxt: str, weights: bytes | None, folder: Path) -> tuple[str | None, str]:
    """Why the host refuses a file, if it does, and the text that Caffe gets."""
    model, stored = folder / "model.prototxt", folder / "model.caffemodel"
    model.write_text(prototxt, encoding="utf-8")
    stored.write_bytes(weights or b"")
    try:
        loaded = networks.load(str(model), weights=None if weights is None else stored)
        if weights is None:
            loaded.shapes_under("caffe-time")
    except InvalidInputError as error:
        return error.message.replace(f"{folder}/", ""), prototxt
    return None, loaded.prototxt


def _work(index: int, prototxt: str, weights: bytes | None, folder: Path) -> Job:
    path = folder / f"{index}.caffemodel"
    if weights is not None:
        path.write_bytes(weights)
    return Job(
        id=str(index),
        fork_layers=True,
        name=f"mutant {index}",
        prototxt=prototxt,
        weights=None if weights is None else path,
        protocol="caffe-time" if weights is None else "inference",
        compute="memory-only",
        threads=1,
        timeout_s=TIMEOUT_S,
        repeats=1,
        warmup=0,
    )


def _seen(outcome: Outcome, refusal: str | None, context: Context) -> Seen:
    observed = observation_of(outcome, context)
    return Seen(
        prototxt=outcome.job.prototxt,
        refusal=refusal,
        ending=observed.exit_status,
        last_words=observed.fatal_message or " | ".join(observed.notes),
        verdict=decide(observed, context.device).verdict,
    )


def faults(seen: Sequence[Seen]) -> list[str]:
    """What is wrong: files whose verdict Caffe's end does not bear out."""
    return [f"{one.verdict} where Caffe ended with {one.ending}" for one in seen if one.is_wrong]


def section(seen: Sequence[Seen]) -> str:
    """The table for the document."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in seen:
        decision = "accepts" if one.refusal is None else "refuses"
        counts[decision, _end(one)] += 1
    lines = [
        f"{len(seen)} such files, half of them refused by pibench, went to real Caffe on the twin",
        "all the same, as `caffe time` or with a mutated caffemodel under `inference`.",
        "",
        "| pibench | Caffe | files |",
        "|---|---|---:|",
        *(
            f"| {decision} | {end} | {number} |"
            for (decision, end), number in sorted(counts.items())
        ),
        "",
        f"Files with `fit` or `borderline` that Caffe did not run to its end: {len(faults(seen))}.",
    ]
    return "\n".join(lines)


def _end(one: Seen) -> str:
    ended = "ends with 0" if one.ending == 0 else "aborts" if one.ending is not None else "is lost"
    return f"{ended}: {one.verdict}"
