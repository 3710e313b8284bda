"""What is known about a run without its outcome: the network, the device and the target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveInt

from pibench.records.schema import Frozen, Sha256
from pibench.target_kinds import TargetKind, kind_of

if TYPE_CHECKING:
    from pibench.devices import Device
    from pibench.networks.network import Network
    from pibench.records.schema import Enforcer, ProvenanceKind
    from pibench.targets.base import Job, Outcome, Target


class NetworkFacts(Frozen):
    """A network as its record describes it, whether it is here or was sent to a board.

    `source` is "zoo" or the prototxt's path. `weights_sha256` is of the weights that ran, None
    where none were loaded; `weights_drawn` is true if they were drawn at random, with the job's
    seed. `layer_types` is by the name of the layer.
    """

    name: str
    sha256: Sha256
    source: str
    parameter_count: NonNegativeInt
    weights_file_bytes: NonNegativeInt
    weights_sha256: Sha256 | None
    weights_drawn: bool
    repairs: tuple[str, ...]
    batch: PositiveInt
    input_size: str | None = None
    layer_types: dict[str, str]


def facts_of(network: Network, job: Job) -> NetworkFacts:
    """Return the facts of a network and of its job; reads all of its weights."""
    from pibench.images.recipe import file_sha256  # noqa: PLC0415  (start-up time)

    return NetworkFacts(
        name=network.name,
        sha256=network.sha256,
        source=network.recorded_source,
        parameter_count=network.parameter_count,
        weights_file_bytes=network.weights_file_bytes,
        weights_sha256=None if job.weights is None else file_sha256(job.weights),
        weights_drawn=network.weights is None,
        repairs=tuple(network.repairs),
        batch=network.batch_under(job.protocol),
        input_size=network.input_size,
        layer_types={layer.name: layer.type for layer in network.net.layer},
    )


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all records of one run share.

    `no_board` is set for one outcome (`of`): why the supposed board is not one.
    """

    device: Device
    target: Target
    no_board: str | None = None

    def of(self, outcome: Outcome) -> Context:
        """Return the context for one outcome: a board may turn out to be emulated."""
        if not self.target_kind.is_board:
            return self
        reason = (outcome.machine or {}).get("no_board")
        if (outcome.result or {}).get("emulator_rss_bytes") is not None:
            reason = "its programs are run by QEMU"
        return replace(self, no_board=reason)

    @property
    def target_kind(self) -> TargetKind:
        """What the target is."""
        return kind_of(self.target.name)

    @property
    def enforced_by(self) -> Enforcer | None:
        """What limits the memory where the whole machine stands for the device."""
        return self.target_kind.enforced_by if self.target_kind.is_whole_machine else None

    @property
    def emulated(self) -> bool:
        """Whether an emulator is in use; valid once the target is prepared."""
        if self.target_kind.is_board:
            return self.no_board is not None
        return self.target.environment()["qemu_version"] is not None

    @property
    def on_another_machine(self) -> bool:
        """Whether the network runs on a core that a program of this host emulates."""
        return self.emulated and self.target_kind.emulation == "other-hosts"

    @property
    def kind(self) -> ProvenanceKind:
        """The provenance of the numbers of its runs."""
        return self.target_kind.provenance_of_run(emulated=self.emulated)
