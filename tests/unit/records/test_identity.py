"""Which runs are the same, and names that distinguish the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pibench.records.identity import labels, labels_of, latest, run_of
from pibench.records.schema import (
    Allowance,
    Environment,
    GuestEnvironment,
    HostEnvironment,
    Limits,
    LimitSet,
    Provenance,
)

if TYPE_CHECKING:
    from pibench.records.schema import Record

Make = Callable[..., "Record"]
MIB = 2**20
A, B, C = "a" * 64, "b" * 64, "c" * 64


def asked(**limits: Any) -> Limits:
    return Limits(asked=LimitSet(**limits))


def around(
    blas: str | None = None, cpu: str = "Xeon", origin: Any = None, memory_mib: int = 925
) -> Environment:
    host = HostEnvironment(
        pibench_version="0.1.0",
        python_version="3.11.7",
        kernel="Linux 6.1.0",
        architecture="aarch64",
        cpu_model=cpu,
        memory_bytes=memory_mib * MIB,
    )
    return Environment(host=host, guest=GuestEnvironment(blas_name=blas, caffe_origin=origin))


def confined(emulator_mib: int, own_mib: int = 918) -> Limits:
    """A sysroot's limits: the emulator's share is measured, and differs from day to day."""
    limit = LimitSet(memory_bytes=(own_mib + emulator_mib + 8) * MIB, cores=4, threads=4)
    return Limits(
        asked=limit,
        in_force=limit,
        enforced_by="cgroup",
        allowance=Allowance(
            emulator_bytes=emulator_mib * MIB, probe_bytes=8 * MIB, measured="2026-11-22"
        ),
    )


SYSROOT: dict[str, Any] = {"target": "sysroot", "machine": None}
VALUES: dict[str, Any] = {"protocol": "inference", "seed": 0, "weights_sha256": A}
SSH: dict[str, Any] = {"target": "ssh", "machine": None}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"network_sha256": A}, {"network_sha256": B}),
        ({"device": "rpi3b"}, {"device": "rpi_zero2w"}),
        ({"machine": "virt"}, {"machine": "raspi3b"}),
        ({}, SYSROOT),
        ({"protocol": "caffe-time"}, {"protocol": "inference"}),
        ({"compute": "real"}, {"compute": "memory-only", "latency_ms": None, "layers": ()}),
        ({"limits": asked(threads=4)}, {"limits": asked(threads=1)}),
        ({"setup": "debian11"}, {"setup": "paper-inferred"}),
        (VALUES, VALUES | {"seed": 7}),
        (VALUES, VALUES | {"weights_sha256": B}),
        (VALUES | {"repeats": 5}, VALUES | {"repeats": 50}),
        (
            {"environment": around("OpenBLAS 0.3.13 Zen")},
            {"environment": around("reference/libblas.so.3")},
        ),
        ({"limits": asked(memory_bytes=1024 * MIB)}, {"limits": asked(memory_bytes=512 * MIB)}),
        (SYSROOT | {"limits": confined(82)}, SYSROOT | {"limits": confined(82, own_mib=418)}),
        (SSH | {"environment": around(cpu="A53")}, SSH | {"environment": around(cpu="A72")}),
        (
            SSH | {"environment": around(memory_mib=925)},
            SSH | {"environment": around(memory_mib=861)},
        ),
        (
            SSH | {"environment": around(origin="root")},
            SSH | {"environment": around(origin="system")},
        ),
    ],
)
def test_runs_that_differ_in_what_decides_them_stand_side_by_side(
    first: dict[str, Any], second: dict[str, Any], make_record: Make
) -> None:
    records = [made(make_record, **first), made(make_record, **second)]
    assert latest(records) == records
    assert latest([*reversed(records)]) == [*reversed(records)]
    assert len(set(labels_of(records).values())) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"network_source": "a/deploy.prototxt"}, {"network_source": "/home/a/deploy.prototxt"}),
        (
            {"environment": around("OpenBLAS 0.3.13 Zen")},
            {"environment": around("OpenBLAS 0.3.21 Haswell")},
        ),
        (SYSROOT | {"limits": confined(82)}, SYSROOT | {"limits": confined(85)}),
        # Lost before it reported its BLAS and its limits, and run again.
        (
            SYSROOT
            | {"limits": asked(memory_bytes=1024 * MIB, threads=4), "verdict": "inconclusive"},
            SYSROOT | {"limits": confined(82), "environment": around("OpenBLAS 0.3.13 Zen")},
        ),
        ({"verdict": "inconclusive"}, {"verdict": "fit"}),
    ],
)
def test_the_same_run_made_again_supersedes_the_earlier_one(
    first: dict[str, Any], second: dict[str, Any], make_record: Make
) -> None:
    early = made(make_record, **first)
    late = made(make_record, **second, created=early.created + timedelta(minutes=1))
    assert latest([early, late]) == latest([late, early]) == [late]


def test_what_is_not_known_of_a_verdict_is_not_taken_for_the_same(make_record: Make) -> None:
    early = made(make_record, verdict="no-fit")
    late = made(make_record, limits=asked(threads=1), created=early.created + timedelta(minutes=1))
    assert latest([early, late]) == [early, late]


def test_a_lost_run_supersedes_no_run_of_which_more_is_known(make_record: Make) -> None:
    early = made(make_record, environment=around("reference/libblas.so.3"))
    lost = made(make_record, verdict="inconclusive", created=early.created + timedelta(minutes=1))
    assert latest([early, lost]) == [early, lost]


def deploy(path: str, digest: str, **changes: Any) -> dict[str, Any]:
    """A network that has no name but its file's."""
    return {"network": "deploy", "network_source": path, "network_sha256": digest, **changes}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ([{}, {"network": "NIN", "network_sha256": B}], ["AlexNet", "NIN"]),
        (
            [deploy("a/deploy.prototxt", A), deploy("b/deploy.prototxt", B)],
            ["a/deploy.prototxt", "b/deploy.prototxt"],
        ),
        (
            [deploy("/x/1/net/deploy.prototxt", A), deploy("/y/2/net/deploy.prototxt", B)],
            ["1/net/deploy.prototxt", "2/net/deploy.prototxt"],
        ),
        ([deploy("deploy.prototxt", A), deploy("a/deploy.prototxt", B)],
         ["deploy.prototxt", "a/deploy.prototxt"]),
        # Records of before have the file's name alone; and one file may have been edited.
        ([deploy("deploy.prototxt", A), deploy("deploy.prototxt", B)],
         ["deploy, aaaaaaaa", "deploy, bbbbbbbb"]),
        (
            [{"network_source": "zoo"},
             {"network_source": "m/alexnet.prototxt", "network_sha256": B}],
            ["AlexNet (zoo)", "AlexNet (alexnet.prototxt)"],
        ),
        # Another batch is another hash, and explains more than its digits.
        ([{}, {"batch": 4, "network_sha256": B}], ["AlexNet", "AlexNet, batch 4"]),
        ([{}, {"limits": asked(threads=1)}], ["AlexNet", "AlexNet, 1 thread"]),
        (
            [VALUES, VALUES | {"seed": 7, "weights_sha256": B}],
            ["AlexNet", "AlexNet, seed 7"],
        ),
        (
            [VALUES, VALUES | {"weights_sha256": B}],
            ["AlexNet, weights aaaaaaaa", "AlexNet, weights bbbbbbbb"],
        ),
        ([{}, SYSROOT], ["AlexNet, vm virt", "AlexNet, sysroot"]),
        # A name only contains what distinguishes this run; others may need more or less.
        (
            [SYSROOT, {}, {"limits": asked(threads=1)}, {"machine": "raspi3b"}],
            ["AlexNet, sysroot", "AlexNet, vm virt", "AlexNet, vm virt, 1 thread",
             "AlexNet, vm raspi3b"],
        ),
    ],
)  # fmt: skip
def test_a_name_states_what_distinguishes_runs_and_no_more(
    changes: list[dict[str, Any]], names: list[str], make_record: Make
) -> None:
    runs = [run_of(made(make_record, **one)) for one in changes]
    assert labels(runs) == names
    assert labels([*reversed(runs)])[-1] == names[0]


def test_a_network_that_is_called_like_another_ones_run_has_a_number(make_record: Make) -> None:
    called = {"network": "AlexNet, seed 7", "network_sha256": C}
    runs = [run_of(made(make_record, **one)) for one in (VALUES | {"seed": 7}, called, VALUES)]
    assert labels(runs) == ["AlexNet, seed 7", "AlexNet, seed 7 #2", "AlexNet"]


def test_files_of_one_content_are_told_apart_on_request(make_record: Make) -> None:
    same = [deploy("a/deploy.prototxt", A), deploy("b/deploy.prototxt", A)]
    runs = [run_of(made(make_record, **one)) for one in (*same, same[0])]
    assert len({*labels(runs)}) == 1
    paths = ["a/deploy.prototxt", "b/deploy.prototxt", "a/deploy.prototxt"]
    assert labels(runs, by_file=True) == paths
    runs.append(run_of(made(make_record, **deploy("c/deploy.prototxt", B))))
    assert labels(runs, by_file=True) == [*paths, "c/deploy.prototxt"]


def test_what_stands_beside_a_name_is_not_in_it(make_record: Make) -> None:
    runs = [run_of(made(make_record, **one)) for one in ({}, SYSROOT, {"batch": 4})]
    assert labels(runs, beside=("source", "batch")) == ["AlexNet"] * 3
    # But where they ran never distinguishes two networks on its own.
    others = [deploy("a/deploy.prototxt", A), deploy("b/deploy.prototxt", B, **SYSROOT)]
    assert labels([run_of(made(make_record, **one)) for one in others], beside=("source",)) == [
        "a/deploy.prototxt",
        "b/deploy.prototxt",
    ]


def made(make_record: Make, **changes: Any) -> Record:
    """A record that may be of any target and compute."""
    kind = "measured" if changes.get("target") == "ssh" else "emulated"
    kinds = {
        name: output if output.kind == "unavailable" else Provenance(kind=kind)
        for name, output in make_record().provenance.items()
    }
    for name in ("latency_ms", "layers") if changes.get("compute") == "memory-only" else ():
        kinds[name] = Provenance(kind="unavailable", reason="it computes nothing")
    return make_record(**{"provenance": kinds, **changes})
