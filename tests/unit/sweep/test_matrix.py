"""A study as it is written, and the cells that it comes to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pibench.errors import InvalidInputError
from pibench.sweeps import matrix
from pibench.sweeps.matrix import cell_key

LENET = 'name: "tiny" input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }'


def labels(**axes: object) -> list[tuple[str, str | None]]:
    return [(cell.label, why) for cell, _, why in matrix.cells(matrix.of(axes, "here"))]


def test_every_combination_is_a_cell() -> None:
    found = labels(networks=["NIN", "AlexNet"], batch=[1, 2], target=["twin", "container"])
    assert len(found) == len(set(found)) == 8
    assert found[0] == ("NIN batch 1 rpi3b twin caffe-time", None)


def test_one_value_needs_no_list() -> None:
    assert matrix.of({"networks": "NIN", "batch": 4}, "here").batch == (4,)


def test_combinations_that_mean_nothing_are_reported_with_the_reason() -> None:
    found = labels(networks="NIN", blas=["openblas", "reference"], compute="memory-only")
    assert found[0][1] is None
    assert "memory-only compute replaces the BLAS" in (found[1][1] or "")


def test_files_are_looked_for_beside_the_study_and_read_once(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    model = tmp_path / "net" / "tiny.prototxt"
    model.write_text(LENET)
    (tmp_path / "study.toml").write_text('networks = ["net/tiny.prototxt", "NIN"]\n')
    study = matrix.read(tmp_path / "study.toml")
    assert study.networks == (str(model), "NIN")
    (first, _, _), *_ = matrix.cells(study)
    assert first.prototxt == LENET


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "networks"),
        ("networks = []", "networks"),
        ("networks = [", "is not TOML"),
        ('networks = "NIN"\nbatch = [0]', "batch"),
        ('networks = "NIN"\nbatchs = [1]', "batchs"),
        ('networks = "NIN"\ncompute = "fast"', "compute"),
        ('networks = "NIN"\ndevice = "pdp11"', "pdp11"),
        ('networks = "NIN"\nweights = { AlexNet = "a" }', "weights.AlexNet"),
        (f'networks = "NIN"\nseed = {list(range(1001))}\nbatch = {list(range(1, 1001))}', "split"),
        ("networks = " + "[" * 5000, "is not TOML"),
        ("networks = " + "9" * 5000, "is not TOML"),
        ('networks = "NIN"\nbudget_s = inf', "budget_s"),
        ('networks = "NIN"\nbudget_s = 1e300', "budget_s"),
        ('networks = "NIN"\ntimeout_s = 0.1', "timeout_s"),
        ('networks = "NIN"\nthreads = 65', "threads"),
        ('networks = "NIN"\nseed = 4294967296', "seed"),
        ('networks = "NIN"\nbatch = true', "batch"),
        ('networks = "NIN"\nrepair = "yes"', "repair"),
        ('networks = "NIN"\ntarget = "ssh://"', "names no host"),
        (f'networks = "{"x" * 5000}"', "networks"),
    ],
)
def test_a_study_that_cannot_be_used_states_where(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        matrix.read(path)
    assert message in caught.value.line()
    assert "\n" not in caught.value.line()


def test_a_byte_order_mark_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b'\xef\xbb\xbfnetworks = "NIN"\r\n')
    assert matrix.read(path).networks == ("NIN",)


def test_a_file_without_end_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b'networks = "NIN" #')
    os.truncate(path, 1 << 40)
    with pytest.raises(InvalidInputError, match="exceeds the limit of"):
        matrix.read(path)


def test_an_empty_size_is_refused_before_anything_is_written() -> None:
    with pytest.raises(InvalidInputError, match="not an input size"):
        matrix.check_networks(matrix.of({"networks": "NIN", "input": ""}, "here"))


def keys(**axes: object) -> list[str]:
    return [cell_key(cell, network) for cell, network, _ in matrix.cells(matrix.of(axes, "here"))]


def test_what_decides_a_result_is_in_the_key() -> None:
    base = {"networks": "NIN", "target": "twin", "protocol": "inference"}
    (first,) = keys(**base)
    assert keys(**base) == [first]
    for change in (
        {"networks": "AlexNet"},
        {"batch": 2},
        {"target": "sysroot"},
        {"device": "rpi4b_2gb"},
        {"threads": 1},
        {"seed": 1},
        {"repeats": 7},
        {"blas": "reference"},
        {"protocol": "caffe-time"},
    ):
        assert keys(**(base | change)) != [first], change


def test_what_decides_nothing_is_not() -> None:
    base = {"networks": "NIN", "target": "twin"}
    (first,) = keys(**base)
    for change in (
        {"seed": 1},
        {"repeats": 7},
        {"timeout_s": 30.0},
        {"budget_s": 30.0},
        {"compute": "memory-only"},
        {"threads": 4},
        {"batch": 1},
    ):
        assert keys(**(base | change)) == [first], change


def test_a_changed_file_is_another_cell(tmp_path: Path) -> None:
    path = tmp_path / "tiny.prototxt"
    path.write_text(LENET)
    (before,) = keys(networks=str(path), target="twin")
    matrix.load.cache_clear()
    path.write_text(LENET.replace("dim: 8 dim: 8", "dim: 8 dim: 9"))
    assert keys(networks=str(path), target="twin") != [before]


def test_an_image_that_a_network_cannot_take_is_named() -> None:
    with pytest.raises(InvalidInputError, match="with input 96x96: NIN"):
        matrix.check_networks(matrix.of({"networks": "NIN", "input": ["224x224", "96x96"]}, "here"))


@pytest.mark.parametrize(
    ("engines", "given", "protocols"),
    [
        (["caffe"], None, ("caffe-time",)),
        (["ncnn", "opencv"], None, ("inference",)),
        (["caffe", "ncnn"], None, ("inference",)),
        (["caffe", "ncnn"], ["caffe-time"], ("caffe-time",)),
    ],
)
def test_the_default_protocol_is_one_that_all_engines_can_run(
    engines: list[str], given: list[str] | None, protocols: tuple[str, ...]
) -> None:
    data = {"networks": ["NIN"], "engine": engines} | ({"protocol": given} if given else {})
    assert matrix.of(data, "a test").protocol == protocols
