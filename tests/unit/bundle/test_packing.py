"""Kits: the same bytes each time, nothing in them but what their manifest names."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from pibench import networks
from pibench.bundle.kit import Kit, KitFile, Manifest, digest_of, remembered, write_kit
from pibench.errors import HostError, InvalidInputError
from pibench.images.carried import CarriedRoot
from pibench.runner.options import RunOptions


def members(kit: Kit) -> dict[str, bytes]:
    with tarfile.open(kit.path) as archive:
        assert all(one.isreg() for one in archive.getmembers())
        return {
            one.name: archive.extractfile(one).read()  # type: ignore[union-attr]
            for one in archive.getmembers()
        }


def test_all_files_are_named_with_their_digests(kit: Kit) -> None:
    content = members(kit)
    assert next(iter(content)) == "pi-kit/manifest.json"
    text = content.pop("pi-kit/manifest.json")
    assert digest_of(text) == kit.digest
    assert Manifest.model_validate_json(text) == kit.manifest
    assert set(content) == {f"pi-kit/{one.path}" for one in kit.manifest.files}
    for one in kit.manifest.files:
        found = content[f"pi-kit/{one.path}"]
        assert (hashlib.sha256(found).hexdigest(), len(found)) == (one.sha256, one.size_bytes)
    assert {"pi-kit/run.py", "pi-kit/README.txt", "pi-kit/probe/kit.py"} <= set(content)
    job = json.loads(content["pi-kit/job.json"])
    assert [item["compute"] for item in job["items"]] == ["real", "real"]
    assert [one["origin"] for one in job["programs"]] == ["system"]


def test_nothing_of_this_machine_is_in_it(kit: Kit) -> None:
    content = b"".join(members(kit).values())
    for secret in (str(Path.home()), str(Path.cwd()), os.uname().nodename):
        if len(secret) > 3:
            assert secret.encode() not in content
    with tarfile.open(kit.path) as archive:
        assert {(one.uname, one.uid, one.mtime) for one in archive} == {("root", 0, 315532800)}


def test_a_network_s_record_needs_nothing_else(kit: Kit) -> None:
    network = networks.load("NIN")
    (packed, _) = kit.manifest.networks
    assert packed.sha256 == network.sha256
    assert packed.layer_types["conv1"] == "Convolution"
    assert (packed.parameter_count, packed.batch) == (network.parameter_count, 1)
    job = kit.manifest.job_of(packed)
    assert (job.id, job.name, job.protocol, job.compute) == ("0", "NIN", "caffe-time", "real")
    assert job.threads == 4


def test_the_same_input_gives_the_same_bytes(kit: Kit, tmp_path: Path) -> None:
    loaded = [networks.load("NIN"), networks.load("SqueezeNet V1.1")]
    again = write_kit(loaded, RunOptions(compute="real"), tmp_path / "b.tar.gz", root=None)
    assert again.path.read_bytes() == kit.path.read_bytes()
    other = write_kit(
        loaded, RunOptions(compute="real", threads=1), tmp_path / "c.tar.gz", root=None
    )
    assert other.digest != kit.digest


def test_inference_brings_its_weights(tmp_path: Path) -> None:
    request = RunOptions(protocol="inference", compute="real", repeats=3)
    kit = write_kit([networks.load("SqueezeNet V1.1")], request, tmp_path / "k.tar.gz", root=None)
    (packed,) = kit.manifest.networks
    content = members(kit)["pi-kit/models/0.caffemodel"]
    assert hashlib.sha256(content).hexdigest() == packed.weights_sha256
    assert packed.weights_drawn
    options = kit.manifest.options
    assert (options.repeats, options.seed, options.weights) == (3, 0, None)


def test_caffe_goes_in_as_the_archive_that_it_is(tmp_path: Path) -> None:
    archive = tmp_path / "root.tar.gz"
    archive.write_bytes(b"as it is")
    digest = hashlib.sha256(b"as it is").hexdigest()
    root = CarriedRoot(
        archive=archive,
        key="a" * 16,
        sha256=digest,
        packed_bytes=8,
        unpacked_bytes=200 << 20,
        lock="b" * 64,
    )
    kit = write_kit(
        [networks.load("NIN")], RunOptions(compute="real"), tmp_path / "k.tar.gz", root=root
    )
    content = members(kit)
    assert content["pi-kit/root.tar.gz"] == b"as it is"
    assert b"200 MiB" in content["pi-kit/README.txt"]
    assert kit.manifest.caffe is not None
    assert kit.manifest.caffe.sha256 == digest
    programs = json.loads(content["pi-kit/job.json"])["programs"]
    assert [one["origin"] for one in programs] == ["system", "root"]
    assert programs[1]["program"][0].startswith("{folder}/roots/aaaaaaaaaaaaaaaa/")


def test_a_kit_is_remembered_for_its_results(kit: Kit, cache: Path) -> None:
    assert remembered(kit.digest) == kit.manifest.text()
    assert remembered("0" * 64) is None
    path = cache / "kits" / f"{'1' * 64}.json"
    path.write_bytes(b"changed")
    assert remembered("1" * 64) is None


def test_what_cannot_be_written_is_reported(tmp_path: Path) -> None:
    loaded = [networks.load("NIN")]
    request = RunOptions(compute="real")
    with pytest.raises(InvalidInputError, match="is a directory"):
        write_kit(loaded, request, tmp_path, root=None)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="not written: "):
        write_kit(loaded, request, tmp_path / "file" / "kit.tar.gz", root=None)
    with pytest.raises(HostError, match="not written: "):
        write_kit(loaded, request, Path("/proc/kit.tar.gz"), root=None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_kit_that_cannot_be_remembered_is_taken_along_to_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = RunOptions(compute="real")
    monkeypatch.setenv("PIBENCH_CACHE_DIR", "/dev/null")
    with pytest.warns(UserWarning, match="not kept: .* takes `pibench import --bundle BUNDLE`"):
        write_kit([networks.load("NIN")], request, tmp_path / "k.tar.gz", root=None)
    assert (tmp_path / "k.tar.gz").stat().st_size


def test_what_is_no_kit_is_not_written_over(tmp_path: Path) -> None:
    loaded, request = [networks.load("NIN")], RunOptions(compute="real")
    records, link = tmp_path / "records.jsonl", tmp_path / "link.tar.gz"
    records.write_text("{}")
    link.symlink_to("/dev/null")
    for there in (records, link):
        with pytest.raises(InvalidInputError, match="is not a bundle"):
            write_kit(loaded, request, there, root=None)
    assert records.read_text() == "{}"
    assert link.is_symlink()


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\0b"])
def test_a_path_that_leads_out_is_not_a_file_of_a_kit(path: str) -> None:
    with pytest.raises(ValidationError):
        KitFile(path=path, sha256="a" * 64, size_bytes=1)
