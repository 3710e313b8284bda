"""The job that a target gets for each network, and the facts about the network for its record."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import NonNegativeInt, PositiveInt

from pibench.engines.caffe import CAFFE
from pibench.errors import InvalidInputError
from pibench.records.fields import Frozen, Sha256
from pibench.records.schema import InputTensor, NetworkFormat
from pibench.runner.model_files import converted, seeded_weights
from pibench.targets.base import End, Ends, Job, LayerBlob

if TYPE_CHECKING:
    from pibench.engines.base import Engine, ModelFormat
    from pibench.engines.caffe.shapes import Shapes
    from pibench.networks.model_file import ModelFile, Runnable
    from pibench.networks.network import Network
    from pibench.runner.options import RunOptions

FLOAT_BYTES = 4
_COPIES: Final = 3
_LONGEST_ENDS: Final = 100_000
"""Characters: Linux passes 131,072 of an argument to a program (MAX_ARG_STRLEN)."""


class NetworkFacts(Frozen):
    """A network as its record describes it, whether it is here or was sent to a board.

    `source` is "zoo" or the path of its file. `weights_sha256` is of the weights that ran, None
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
    fork_layers: tuple[str, ...] = ()
    batch: PositiveInt
    input_size: str | None = None
    network_format: NetworkFormat = "caffe"
    inputs: tuple[InputTensor, ...] = ()
    layer_types: dict[str, str]


def facts_of(network: Runnable, job: Job) -> NetworkFacts:
    """Return the facts of a network and of its job; reads all of its weights."""
    from pibench.images.recipe import file_sha256  # noqa: PLC0415  (start-up time)
    from pibench.networks.model_file import ModelFile  # noqa: PLC0415  (start-up time)

    if isinstance(network, ModelFile):
        return NetworkFacts(
            name=network.name,
            sha256=network.sha256,
            source=network.recorded_source,
            parameter_count=network.contents.parameter_count,
            weights_file_bytes=network.size_bytes,
            weights_sha256=network.data_sha256,
            weights_drawn=False,
            repairs=(),
            batch=network.batch,
            input_size=network.input_size,
            network_format=network.form,
            inputs=tuple(InputTensor(**asdict(one)) for one in network.inputs),
            layer_types={},
        )
    return NetworkFacts(
        name=network.name,
        sha256=network.sha256,
        source=network.recorded_source,
        parameter_count=network.parameter_count,
        weights_file_bytes=network.weights_file_bytes,
        weights_sha256=None if job.weights is None else file_sha256(job.weights),
        weights_drawn=network.weights is None,
        repairs=tuple(network.repairs),
        fork_layers=network.fork_layers,
        batch=network.batch_under(job.protocol),
        input_size=network.input_size,
        layer_types={layer.name: layer.type for layer in network.net.layer},
    )


def _job_of_file(index: int, model: ModelFile, options: RunOptions) -> Job:
    from pibench.networks.model_file import RANGES  # noqa: PLC0415  (start-up time)

    inputs, outputs = [], []
    for one in model.inputs:
        low, high = RANGES[one.type]
        inputs.append(
            End(name=one.name, shape=one.shape, inside=one.name, type=one.type, low=low, high=high)
        )
    for name, shape in model.shapes.items():
        outputs.append(End(name=name, shape=shape, inside=name))
    ends = Ends(inputs=tuple(inputs), outputs=tuple(outputs))
    if len(json.dumps(asdict(ends))) > _LONGEST_ENDS:
        raise InvalidInputError.at(
            model.place, None, "the names of its inputs and outputs are too long for a command",
            hint="export it with shorter names, or with fewer",
        )  # fmt: skip
    values = sum(math.prod(one.shape) for one in model.inputs)
    return new_job(
        options,
        id=str(index),
        name=model.name,
        prototxt="",
        weights=None,
        files=(model.path,),
        beside=tuple(model.data.items()),
        ends=ends,
        # Engines have the weights once or more beside the file's own.
        cost_bytes=_COPIES * model.size_bytes + 2 * FLOAT_BYTES * values,
    )


def job_of(index: int, network: Runnable, options: RunOptions) -> Job:
    """Return the job of one network; under `inference` it has weights, seeded if none are given."""
    from pibench.networks.model_file import ModelFile  # noqa: PLC0415  (start-up time)

    if isinstance(network, ModelFile):
        return _job_of_file(index, network, options)
    weights = None
    if options.protocol == "inference":
        weights = network.weights or seeded_weights(network, options.seed)
    engine = options.effective_engine
    assert engine.model_format is not None  # noqa: S101  (checked before)
    wants_layers = options.layer_values and engine.layer_settings is not None
    files: tuple[Path, ...] = ()
    if engine.model_format != "caffe":
        assert weights is not None  # noqa: S101  (such engines have inference alone)
        files = converted(network, weights, engine.model_format, all_values=wants_layers)
    return new_job(
        options,
        id=str(index),
        name=network.name,
        prototxt=engine.adapted(network.prototxt, network.place, as_it_is=wants_layers),
        weights=weights,
        files=files,
        layers=layers_of(network.shapes_under("inference"), engine) if wants_layers else (),
        ends=None
        if engine.id == CAFFE.id
        else ends_of(network.shapes_under("inference"), engine.model_format),
        cost_bytes=cost_bytes(network),
        fork_layers=bool(network.fork_layers),
    )


def ends_of(found: Shapes, to: ModelFormat) -> Ends:
    """Return the inputs and outputs of a network in the order of Caffe's Net, for a model's format.

    Inputs are the tops of its Input layers; outputs, by name, the blobs that no layer reads.
    """
    last = {
        name: (position, top)
        for position, layer in enumerate(found.layers)
        for top, name in enumerate(layer.top)
    }
    inputs = [name for layer in found.layers if layer.type == "Input" for name in layer.top]
    outputs = sorted(name for name, source in last.items() if not found.readers.get(source))
    if to == "caffe":
        into = {name: name for name in inputs}
        out = {name: found.layers[last[name][0]].name for name in outputs}
    else:
        from pibench.engines import convert  # noqa: PLC0415  (start-up time)

        into, out = convert.ends(found, to)
    return Ends(
        inputs=tuple(End(name=name, shape=found.blobs[name], inside=into[name]) for name in inputs),
        outputs=tuple(
            End(name=name, shape=found.blobs[name], inside=out[name], top=last[name][1])
            for name in outputs
        ),
    )


def layers_of(found: Shapes, engine: Engine) -> tuple[LayerBlob, ...]:
    """Return the blobs that the layers of a test phase write and an engine may have.

    The engine is one that gives the values of layers.
    """
    if engine.model_format == "caffe":
        places = engine.values_inside(found)
    else:
        from pibench.engines import convert  # noqa: PLC0415  (start-up time)

        assert engine.model_format is not None  # noqa: S101  (it runs networks of Caffe)
        places = {
            source: (name, 0) for source, name in convert.values(found, engine.model_format).items()
        }
    return tuple(
        LayerBlob(
            index=position, layer=layer.name, type=layer.type, name=name,
            shape=found.tops[position][number],
            inside="" if layer.type == "Input" else places[position, number][0],
            top=0 if layer.type == "Input" else places[position, number][1],
        )
        for position, layer in enumerate(found.layers)
        for number, name in enumerate(layer.top)
        # Caffe gives no values of a Split, which copies nothing.
        if layer.type == "Input" or (layer.type != "Split" and (position, number) in places)
    )  # fmt: skip


def cost_bytes(network: Network) -> int:
    """Return the size of data and diff of all blobs and parameters.

    It only orders the jobs; it is not an estimate of the memory needed.
    """
    elements = network.parameter_count + sum(
        math.prod(shape) for shape in network.shapes.blobs.values()
    )
    return 2 * FLOAT_BYTES * elements


def new_job(options: RunOptions, **own: Any) -> Job:
    """Return a job with the options; `own` are the fields of its network."""
    memory_only = options.effective_compute == "memory-only"
    repeats = 0 if own.get("layers") else options.repeats
    return Job(
        **own,
        protocol=options.protocol,
        compute=options.effective_compute,
        threads=options.effective_threads,
        timeout_s=options.effective_timeout_s,
        # Values are not computed: repeats would show nothing new.
        repeats=1 if memory_only else repeats,
        warmup=0 if memory_only or not repeats else 1,
        seed=options.seed,
        blas=options.blas,
        setup=options.setup,
        inputs=options.inputs,
        keep=options.keep,
        values_only=options.values_only,
        engine=options.effective_engine.spec if options.layer_values else options.engine,
    )
