"""Older forms are read without --repair, as stock Caffe does."""

from __future__ import annotations

import pytest

from pibench.engines.caffe import prototxt, repair, shapes
from pibench.errors import InvalidInputError
from tests.wild.older import ABORTS, BLOBS, OLDER


@pytest.mark.parametrize("name", OLDER)
def test_blobs_are_those_of_stock_caffe(name: str) -> None:
    net = prototxt.parse(OLDER[name], name)
    assert shapes.infer(net).blobs == BLOBS[name]
    again = prototxt.parse(prototxt.write(net), "again")
    assert shapes.infer(again).blobs == BLOBS[name]
    shapes.infer(repair.repair_text(OLDER[name], name)[0])


@pytest.mark.parametrize("name", ABORTS)
def test_what_stock_caffe_aborts_on_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        shapes.infer(prototxt.parse(ABORTS[name], name), path=name)
    assert caught.value.line().startswith(f"{name}: ")


def test_the_form_of_2013_gets_all_its_parameters() -> None:
    net = prototxt.parse(OLDER["2013"], "net")
    conv, _, pool, norm, fc, drop, _ = net.layer
    assert [(spec.lr_mult, spec.decay_mult) for spec in conv.param] == [(1, 1), (2, 0)]
    assert (conv.convolution_param.weight_filler.type, list(conv.convolution_param.pad)) == (
        "gaussian",
        [2],
    )
    assert pool.pooling_param.pool == pool.pooling_param.AVE
    assert (norm.lrn_param.local_size, fc.inner_product_param.bias_term) == (5, False)
    assert drop.dropout_param.dropout_ratio == 0.5


def test_an_image_size_of_2013_is_found_by_the_repair() -> None:
    text = 'layers { layer { name: "d" type: "data" cropsize: 9 batchsize: 4 } top: "d" }\n'
    text += 'layers { layer { name: "r" type: "relu" } bottom: "d" top: "d" }'
    assert shapes.infer(repair.repair_text(text, "net")[0]).blobs == {"d": (1, 3, 9, 9)}
