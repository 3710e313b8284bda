"""Splits, sharing and gradients as Net::Init makes them."""

from __future__ import annotations

from pathlib import Path

from pibench import networks
from pibench.plan import graph
from pibench.plan.graph import Node
from tests.wild.networks import WILD


def nodes_of(tmp_path: Path, text: str) -> list[Node]:
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    network = networks.load(str(path))
    return graph.build(network.shapes, force_backward=network.net.force_backward)


def test_a_split_stands_behind_a_blob_that_is_read_twice(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, WILD["residual"]())
    splits = [node for node in nodes if node.type == "Split"]
    assert splits
    for split in splits:
        assert len(split.tops) == 2
        assert split.name == f"{split.bottoms[0].name}_{nodes[nodes.index(split) - 1].name}_0_split"


def test_data_of_tops_in_place_counts_again_and_that_of_splits_too(tmp_path: Path) -> None:
    text = """layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
    layer { name: "relu" type: "ReLU" bottom: "data" top: "data" }
    layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "data" top: "sum" }"""
    # The input, its two readers' split (of the rectified blob), the rectifier, the sum.
    assert graph.data_bytes(nodes_of(tmp_path, text)) == 4 * 48 * (1 + 1 + 2 + 1)


def test_layers_in_place_have_one_blob(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, WILD["caffenet"]())
    relu = next(node for node in nodes if node.type == "ReLU")
    assert relu.bottoms[0] is relu.tops[0]


def test_without_a_loss_no_gradient_flows(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, WILD["caffenet"]())
    assert not any(node.needs_backward or any(node.propagate) for node in nodes)
    assert all(all(node.learns) for node in nodes)


def test_gradients_stop_at_frozen_layers(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, WILD["frozen_fine_tuning"]())
    convolutions = [node for node in nodes if node.type == "Convolution"]
    assert [node.learns for node in convolutions] == [[False, False], [False, False], [True, True]]
    assert [node.needs_backward for node in convolutions] == [False, False, True]
    assert convolutions[2].propagate == [False]
    assert next(node for node in nodes if node.type == "ELU").propagate == [True]


def test_force_backward_reaches_the_input(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, WILD["forced_backward"]())
    assert all(all(node.propagate) for node in nodes)


def test_labels_get_no_gradient(tmp_path: Path) -> None:
    nodes = nodes_of(tmp_path, WILD["train_val"]())
    losses = [node for node in nodes if node.type == "SoftmaxWithLoss"]
    assert [node.propagate for node in losses] == [[True, False], [True, False]]
    assert [node.losses[0] for node in losses] == [0.30000001192092896, 1.0]
