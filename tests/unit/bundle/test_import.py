"""Results that come back: records of the whole ones, one clear line for all others."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pibench.bundle.kit import Kit
from pibench.bundle.results import import_results
from pibench.errors import HostError, InvalidInputError
from pibench.records.store import RecordStore
from pibench.report.runs import how_it_ran
from tests.unit.bundle.conftest import MACHINE, MIB, lines_of, reading, result, started, whole_run

Entries = list[dict[str, Any]]


def refusal(path: Path, kit: Path | None = None) -> str:
    with pytest.raises(InvalidInputError) as caught:
        import_results(path, kit=kit)
    line = caught.value.line()
    assert "\n" not in line
    return line


def changed(kit: Kit, index: int, /, **fields: Any) -> Entries:
    entries = whole_run(kit.digest)
    entries[index] = entries[index] | fields
    return entries


# ---------------------------------------------------------------- what is well


def test_whole_results_are_records_like_any_other(results: Callable[..., Path]) -> None:
    nin, squeeze = import_results(results()).records
    assert (nin.network, nin.target, nin.verdict) == ("NIN", "native", "fit")
    assert (nin.peak_rss_bytes, nin.network_rss_bytes) == (130 * MIB, 73 * MIB)
    assert (nin.latency_ms, nin.provenance["latency_ms"].kind) == (812.75, "measured")
    assert [(one.name, one.type, one.backward_ms) for one in nin.layers] == [
        ("conv1", "Convolution", 30.0)
    ]
    assert nin.samples[0].clock_hz == 1_200_000_000
    assert squeeze.peak_rss_bytes == 90 * MIB
    environment = nin.environment
    assert environment.guest.device_tree_model == "Raspberry Pi 3 Model B Rev 1.2"
    assert environment.guest.main_id_register == "0x410fd034"
    assert environment.guest.caffe_origin == "system"
    # The machine that pibench's kit ran on is the board.
    assert (environment.host.architecture, environment.host.python_version) == ("aarch64", "3.5.2")
    assert environment.host.load_1_minute == 0.2
    assert nin.evidence.notes == ("ran on 2023-11-14 22:13 UTC by the board's own clock",)


def test_a_machine_that_is_not_a_board_measures_nothing(
    kit: Kit, results: Callable[..., Path]
) -> None:
    virtual = MACHINE | {"no_board": "its device tree is a virtual machine's"}
    nin, _ = import_results(results(changed(kit, 1, machine=virtual))).records
    assert {nin.provenance[name].kind for name in ("peak_rss_bytes", "latency_ms", "layers")} == {
        "emulated"
    }
    assert nin.is_emulated_or_twin
    assert how_it_ran([nin])[0].startswith("emulated: native, on a machine that is not a board")
    assert nin.evidence.notes[0] == (
        "not measured on a board: its device tree is a virtual machine's"
    )


def test_a_network_of_which_nobody_saw_the_end(kit: Kit, results: Callable[..., Path]) -> None:
    entries = changed(kit, 3, event="died", why="the machine went down")
    entries[6]["finished"] = ["0", "1"]
    nin, squeeze = import_results(results(entries)).records
    assert (nin.verdict, squeeze.verdict) == ("inconclusive", "fit")
    assert nin.evidence.notes[0] == "the machine went down"


def test_a_throttled_board_s_time_does_not_count(kit: Kit, results: Callable[..., Path]) -> None:
    hot = [reading(10.0), reading(12.0, throttled_bits=0x80008), reading(15.0)]
    entries = changed(kit, 3, result=result(readings=hot))
    nin, _ = import_results(results(entries)).records
    assert nin.latency_ms is None
    assert "soft temperature limit" in nin.provenance["latency_ms"].reason


def test_sessions_may_follow_each_other(kit: Kit, results: Callable[..., Path]) -> None:
    first = whole_run(kit.digest)
    again = [
        *first[:4],
        started("1"),
        {"event": "interrupted", "id": "1"},
        {"event": "end", "finished": ["0"]},
        *(first[1], started("1"), first[5], first[6]),
    ]
    assert len(import_results(results(again)).records) == 2


def test_a_part_that_was_ended_is_enough(kit: Kit, results: Callable[..., Path]) -> None:
    part = [*whole_run(kit.digest)[:4], {"event": "end", "finished": ["0"]}]
    (nin,) = import_results(results(part)).records
    assert nin.network == "NIN"


def test_unknown_fields_of_a_newer_probe_are_accepted(
    kit: Kit, results: Callable[..., Path]
) -> None:
    entries = changed(kit, 1, machine=MACHINE | {"moon": "full"})
    assert len(import_results(results(entries)).records) == 2


def test_the_same_file_twice_makes_no_record_twice(
    results: Callable[..., Path], tmp_path: Path
) -> None:
    store = RecordStore(tmp_path / "records.jsonl")
    path = results()
    first, second = import_results(path, store=store), import_results(path, store=store)
    assert (first.known, second.known) == (0, 2)
    assert len(store.read()) == 2
    assert [one.record_id for one in first.records] == [one.record_id for one in second.records]


def test_nothing_is_recorded_of_a_file_that_is_not_whole(
    results: Callable[..., Path], tmp_path: Path
) -> None:
    path = results()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    store = RecordStore(tmp_path / "records.jsonl")
    with pytest.raises(InvalidInputError):
        import_results(path, store=store)
    assert not store.path.exists()


def test_a_store_that_cannot_be_written_loses_nothing(
    results: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises((InvalidInputError, HostError), match="cannot be written"):
        import_results(results(), store=RecordStore(tmp_path / "no" / "records.jsonl"))


# ---------------------------------------------------------------- what was altered or cut off


@pytest.mark.parametrize("number", range(1, 8))
def test_a_changed_byte_is_found_on_its_line(number: int, results: Callable[..., Path]) -> None:
    path = results()
    lines = path.read_bytes().splitlines(keepends=True)
    middle = len(lines[number - 1]) * 2 // 3
    changed_byte = bytes([lines[number - 1][middle] ^ 1])
    lines[number - 1] = lines[number - 1][:middle] + changed_byte + lines[number - 1][middle + 1 :]
    path.write_bytes(b"".join(lines))
    message = refusal(path)
    assert f"line {number}: " in message
    assert "copy the file from the board again" in message


def test_a_byte_order_mark_changes_nothing(results: Callable[..., Path]) -> None:
    path = results()
    before = [one.record_id for one in import_results(path).records]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [one.record_id for one in import_results(path).records] == before


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: [*lines[:3], *lines[4:]], 4),
        (lambda lines: [*lines[:4], lines[3], *lines[4:]], 5),
        (lambda lines: [*lines[:2], lines[4], lines[3], lines[2], *lines[5:]], 3),
        (lambda lines: [*lines, b"and more\n"], 8),
        (lambda lines: [*lines, b"\n"], 8),
        (lambda lines: [line.replace(b"\n", b"\r\n") for line in lines], 1),
        (lambda lines: lines[1:], 1),
        (lambda lines: [*lines[:-1], lines[-1][:-1]], 7),
    ],
    ids=["lost", "doubled", "moved", "added", "empty", "dos", "headless", "no-end"],
)
def test_lines_that_are_not_as_they_were_written(
    change: Callable[[list[bytes]], list[bytes]], line: int, results: Callable[..., Path]
) -> None:
    path = results()
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    assert f"line {line}: " in refusal(path)


def test_every_truncation_is_refused(results: Callable[..., Path]) -> None:
    path = results()
    whole = path.read_bytes()
    ends = [0, *(i + 1 for i, byte in enumerate(whole) if byte == 10)][:-1]
    draw = random.Random(3)  # noqa: S311
    for size in {*ends, *(draw.randrange(len(whole)) for _ in range(60)), len(whole) - 1}:
        path.write_bytes(whole[:size])
        message = refusal(path)
        assert "is empty" in message or "cut off" in message
        assert size == 0 or "python3 run.py continues" in message


def test_a_line_that_is_too_long_is_not_read(results: Callable[..., Path]) -> None:
    path = results()
    with path.open("ab") as file:
        file.write(b"x" * (9 << 20))
    assert "line 8: longer than any line that a bundle writes" in refusal(path)


def test_places_that_contain_no_results(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none")
    assert "is a directory" in refusal(tmp_path)
    assert "not a regular file" in refusal(Path("/dev/null"))
    (tmp_path / "other").write_bytes(b"\x1f\x8b\x00 no text \xff\n")
    assert "line 1: not a line of results" in refusal(tmp_path / "other")


# ---------------------------------------------------------------- whose results they are


def test_another_version_is_named(kit: Kit, results: Callable[..., Path]) -> None:
    assert "results of version 2, this program reads 1" in refusal(
        results(changed(kit, 0, version=2))
    )


@pytest.mark.parametrize(
    "first",
    [
        {"format": "other"},
        {"kit": 5},
        {"kit": "../../etc/passwd"},
        {"kit": "A" * 64},
        {"event": "machine"},
    ],
)
def test_a_file_that_does_not_begin_as_results_do(
    first: dict[str, Any], kit: Kit, results: Callable[..., Path]
) -> None:
    assert "line 1: not the start of a results file" in refusal(results(changed(kit, 0, **first)))


def test_a_kit_that_was_not_made_here_has_to_be_given(
    kit: Kit, results: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIBENCH_CACHE_DIR", str(tmp_path / "elsewhere"))
    path = results()
    output = refusal(path)
    assert "a bundle that was not made here" in output
    assert "--bundle pi-kit.tar.gz" in output
    assert len(import_results(path, kit=kit.path).records) == 2


def test_results_of_another_kit_are_refused(kit: Kit, results: Callable[..., Path]) -> None:
    other = "b" * 64
    path = results()
    path.write_bytes(b"".join(lines_of(whole_run(other), other)))
    assert "a bundle that was not made here (bbbbbbbbbbbbbbbb)" in refusal(path)
    output = refusal(path, kit.path)
    assert "of another bundle (bbbbbbbbbbbbbbbb) than" in output
    assert kit.digest[:16] in output


def test_a_kit_that_was_changed_is_another(
    kit: Kit, results: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "kit.tar.gz"
    text = kit.manifest.text().replace(b'"NIN"', b'"ALEXNET"')
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("pi-kit/manifest.json")
        info.size = len(text)
        (tmp_path / "manifest").write_bytes(text)
        with (tmp_path / "manifest").open("rb") as content:
            archive.addfile(info, content)
    assert "of another bundle" in refusal(results(), path)


def tar_with(path: Path, name: str, content: bytes = b"{}", **fields: Any) -> Path:
    import io

    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for key, value in fields.items():
            setattr(info, key, value)
        archive.addfile(info, io.BytesIO(content))
    return path


def test_files_that_are_not_a_kit(results: Callable[..., Path], tmp_path: Path) -> None:
    path = results()
    no_tar = tmp_path / "text"
    no_tar.write_text("text")
    assert "cannot be read" in refusal(path, no_tar)
    assert "cannot be read" in refusal(path, tmp_path / "absent")
    assert "is a directory" in refusal(path, tmp_path)
    assert "is not a bundle" in refusal(path, tar_with(tmp_path / "a", "../../manifest.json"))
    assert "is not a bundle" in refusal(path, tar_with(tmp_path / "b", "/pi-kit/manifest.json"))
    link = tar_with(
        tmp_path / "c", "pi-kit/manifest.json", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"
    )
    assert "is not a bundle" in refusal(path, link)
    empty = tmp_path / "d"
    empty.write_bytes(gzip.compress(b""))
    assert "cannot be read" in refusal(path, empty) or "is not a bundle" in refusal(path, empty)


def test_a_kit_that_ends_early(kit: Kit, results: Callable[..., Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.tar.gz"
    content = kit.path.read_bytes()
    for size in (10, 100, 1000):
        cut.write_bytes(content[:size])
        assert "cannot be read" in refusal(results(), cut)
    # The manifest is its first file: that is all that is wanted of it.
    cut.write_bytes(content[: len(content) // 2])
    assert len(import_results(results(), kit=cut).records) == 2


def test_nothing_is_ever_unpacked(
    kit: Kit, results: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copied = tmp_path / "kit.tar.gz"
    shutil.copy2(kit.path, copied)
    path = results()
    before = {one for one in tmp_path.rglob("*") if "elsewhere" not in one.parts}
    import_results(path, kit=copied)
    assert {one for one in tmp_path.rglob("*") if "elsewhere" not in one.parts} == before


# ---------------------------------------------------------------- well-formed and wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.insert(3, {"event": "format", "id": "0"}), "an entry that no bundle writes"),
        (lambda e: e.insert(3, {"id": "0"}), "an entry that no bundle writes"),
        (lambda e: e.insert(4, e[3]), "NIN a second time"),
        (lambda e: e.insert(4, e[2]), "NIN a second time"),
        (lambda e: e.pop(2), "a result of NIN, which was not started"),
        (lambda e: e.pop(1), "a result of NIN, which was not started"),
        (lambda e: e.insert(2, started("7")), "a network that the bundle does not have: '7'"),
        (lambda e: e[3].update(id="../0"), "a network that the bundle does not have"),
        (lambda e: e[3].update(id=["0"]), "id: Input should be a valid string"),
        (lambda e: e[6].update(finished=["0"]), "the end names other networks"),
        (lambda e: e[6].update(finished=["0", "1", "1"]), "the end names other networks"),
        (lambda e: e.insert(1, e[6] | {"finished": []}) or e.__delitem__(slice(2, None)), "no net"),
        (lambda e: e[3].pop("result"), "result: Field required"),
        (lambda e: e[3]["result"].update(peak_rss_bytes=-1), "peak_rss_bytes"),
        (lambda e: e[3]["result"].update(peak_rss_bytes="12"), "peak_rss_bytes"),
        (lambda e: e[3]["result"].update(peak_rss_bytes=10**40), "peak_rss_bytes"),
        (lambda e: e[3]["result"].update(exit_status="0"), "exit_status"),
        (lambda e: e[3]["result"].update(readings=[]), "readings"),
        (lambda e: e[3]["result"]["readings"][0].pop("time_s"), "time_s"),
        (lambda e: e[3]["result"]["caffe_time"].update(totals=[1]), "totals"),
        (lambda e: e[3]["result"]["caffe_time"].update(layers=[["a"]]), "layers"),
        (lambda e: e[3]["result"].update(inference={}), "inference"),
        (lambda e: e[3]["result"].update(fatal_message="x" * 5000), "fatal_message"),
        (lambda e: e[1]["machine"].update(cores_usable=0), "cores_usable"),
        (lambda e: e[1]["machine"].update(throttle={"lag_s": -1}), "throttle"),
        (lambda e: e[1]["machine"].update(caffe_lock="../../x"), "caffe_lock"),
        (lambda e: e[1]["machine"].pop("architecture"), "architecture"),
    ],
)
def test_entries_that_no_kit_writes(
    change: Callable[[Entries], Any], message: str, kit: Kit, results: Callable[..., Path]
) -> None:
    entries = copy.deepcopy(whole_run(kit.digest))
    change(entries)
    line = refusal(results(entries))
    assert message in line
    assert "line " in line


@pytest.mark.parametrize(
    "text",
    [
        '{"event":"end","finished":NaN}',
        '{"event":"end","finished":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"event":"end","n":' + "9" * 10_000 + "}",
        '{"event":"end"}{"event":"end"}',
    ],
)
def test_json_that_no_kit_writes(text: str, results: Callable[..., Path]) -> None:
    from pibench.probe.results import digest_of

    path = results()
    lines = path.read_bytes().splitlines(keepends=True)[:-1]
    digest = digest_of(json.loads(lines[-1])["digest"], text.encode())
    path.write_bytes(b"".join(lines) + f'{{"digest":"{digest}","entry":{text}}}\n'.encode())
    assert "line 7: " in refusal(path)


def test_control_characters_are_not_let_out(kit: Kit, results: Callable[..., Path]) -> None:
    entries = changed(kit, 2, event="\x1b[2J\x07")
    assert "\x1b" not in refusal(results(entries))


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**30), max_value=10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values within one."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_value_in_any_place_is_an_internal_error(
    data: st.DataObject, kit: Kit, results: Callable[..., Path]
) -> None:
    """Return it with new digests, so that its contents are checked."""
    entries = copy.deepcopy(whole_run(kit.digest))
    everywhere = [place for place in places(entries) if len(place) > 1 and place[0] > 0]
    *parents, last = data.draw(st.sampled_from(everywhere))
    target: Any = entries
    for key in parents:
        target = target[key]
    if isinstance(target, dict) and data.draw(st.booleans()):
        del target[last]
    else:
        target[last] = data.draw(JUNK)
    # Either it is well, or it is refused: any other error is a fault.
    with contextlib.suppress(InvalidInputError):
        assert len(import_results(results(entries)).records) == 2
