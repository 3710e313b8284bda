"""Where blobs lie in a weights file, and how protobuf's arrays grow over them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pibench import networks
from pibench.engines import wire
from pibench.engines.caffe import caffemodel
from pibench.plan import graph, weights
from tests.wild.networks import WILD


@pytest.mark.parametrize("name", ["caffenet", "dense_blocks", "siamese", "attention"])
def test_blobs_lie_where_the_file_has_them(tmp_path: Path, name: str) -> None:
    text, file = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    small = re.sub("num_output: (4096|500)", "num_output: 16", WILD[name]())
    text.write_text(small)
    network = networks.load(str(text))
    caffemodel.write_seeded(network.net, file)
    data = file.read_bytes()
    stored = [
        (values.start, (values.end - values.start) // 4)
        for layer in wire.fields(data, 0, len(data))
        if layer.number == 100
        for blob in wire.fields(data, layer.start, layer.end)
        if blob.number == 7
        for values in wire.fields(data, blob.start, blob.end)
        if values.number == 5
    ]
    nodes = graph.build(network.shapes, force_backward=False)
    file_name = caffemodel.seeded_name(network.net.name, 0)
    assert [(at, blob.count) for _, blob, at in weights.places(nodes, file_name)] == stored


def test_an_array_doubles_from_what_the_first_buffer_had() -> None:
    # Seen in a run: 268 floats and a half until the end of the buffer, 20,480 in all.
    sizes = weights.capacities(8192 - 1074, 20_480)
    assert sizes == [268, 536, 2316, 4632, 9264, 18_528, 37_056]


def test_a_buffer_that_ends_between_two_floats_needs_no_patch() -> None:
    assert weights.capacities(8192 - 3280, 6_422_528)[:3] == [820, 2868, 5736]


def test_a_blob_within_one_buffer_gets_what_it_needs() -> None:
    assert weights.capacities(0, 10) == [10]
    assert weights.capacities(8190, 1) == [4]
