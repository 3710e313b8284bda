"""Broken prototxts and caffemodels: what a slip, a bad copy or malice makes of good ones.

Mutations know the structure: layers are lost, doubled and swapped, numbers become those at
which counters end, and any field of Caffe's schema may turn up. Each is a function of its random
generator alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from pibench import networks as zoo
from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import caffemodel, forks, prototxt
from pibench.engines.caffe.shapes import DATA_TYPES, RULES
from tests.wild.forks import FORKED
from tests.wild.networks import WILD
from tests.wild.older import OLDER
from tests.wild.strategies import networks

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

LONGEST_BYTES = 10_240
"""Of a mutated file: a deploy file of a small network has as much."""
NUMBERS = (
    "0", "-1", "1", "2", "3", "4", "7", "16", "17", "31", "32", "33", "127", "1000", "4096",
    "65535", "65536", "1048576", "46341", "16777217", "2147483647", "2147483648", "4294967295",
    "4294967296", "9223372036854775807", "9223372036854775808", "-2147483648",
    "-9223372036854775808", "18446744073709551615", "0.5", "-0.0", "1e-45", "3.5e38", "1e400",
    "nan", "inf", "-inf", "0x10", "0777", "1f", ".5", "5.", "\u0661", "1_0",
)  # fmt: skip
"""Where a counter, a float or a parser ends."""
STRINGS = (
    '""', '"data"', '"x"', "'x'", '"\\377"', '"\\0"', '"\\ud800"', '"é\u202e\u0085"', '"a" "b"',
    '"../../x"', '"<script>x</script>"', '"\\033[2J\\007"', f'"{"n" * 3000}"', '"\\n"', "true",
    "false", "MAX", "TRAIN", "CUDNN",
)  # fmt: skip
LEGACY = """name: "old" input: "data" input_dim: 2 input_dim: 3 input_dim: 20 input_dim: 20
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 engine: MKL2017 } include { phase: TEST } }
layers { name: "p" type: POOLING bottom: "c" top: "p" pooling_param { kernel_size: 2 stride: 2 } }
layers { name: "f" type: INNER_PRODUCT bottom: "p" top: "f" inner_product_param { num_output: 9 } }
layer { name: "l" type: "ImageData" top: "i" top: "label" transform_param { crop_size: 9 } }
layers { name: "s" type: SOFTMAX_LOSS bottom: "f" bottom: "label" top: "s" }
"""
SMALL = """name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 6, 6] } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 5 } }
"""

_TOKEN = re.compile(r'"[^"\n]*"|[A-Za-z_][\w.]*|-?[0-9][\w.+-]*|\S')
_LAYERS = re.compile(r"(?m)^(?=layers? *\{)")


@cache
def published() -> tuple[str, ...]:
    """Networks as people publish them: each style, those of the zoo that are short, an old one."""
    short = [zoo.load(name).prototxt for name in zoo.names()]
    styles = [build() for build in (*WILD.values(), *FORKED.values())]
    return (
        *(text for text in short if len(text) < LONGEST_BYTES), *styles, *OLDER.values(), LEGACY,
    )  # fmt: skip


def mutated_text(text: str, random: Random) -> bytes:
    """A prototxt of at most LONGEST_BYTES, one to eight mutations away from `text`."""
    for _ in range(random.choice((1, 1, 1, 1, 1, 2, 3, 8))):
        text = random.choice(_OF_TEXT)(text, random)[:LONGEST_BYTES]
    raw = text.encode("utf-8", "replace")
    return (mutated_bytes(raw, random) if random.random() < 0.1 else raw)[:LONGEST_BYTES]


def mutated_weights(weights: bytes, random: Random) -> bytes:
    """A caffemodel of at most LONGEST_BYTES, its messages or its bytes changed."""
    if random.random() < 0.6:
        weights = _with_changed_blobs(weights, random)
    if random.random() < 0.6:
        weights = mutated_bytes(weights, random)
    return weights[:LONGEST_BYTES]


def mutated_bytes(raw: bytes, random: Random) -> bytes:
    """One to four bytes or runs of bytes changed, lost, doubled or put in."""
    data = bytearray(raw)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        run = random.choice((1, 1, 2, 8, 200))
        kind = random.randrange(5)
        if kind == 0:
            data[at : at + 1] = bytes([random.choice((0, 1, 0x0A, 0x7B, 0x7F, 0x80, 0xFF))])
        elif kind == 1:
            del data[at : at + run]
        elif kind == 2:
            data[at:at] = data[at : at + run] * random.choice((1, 2, 40))
        elif kind == 3:
            data[at:at] = random.choice((b"\xff" * 9 + b"\x01", b"\xff\xff\xff\x7f", b"\x80" * 12))
        else:
            del data[at:]
    return bytes(data)


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """A mutated prototxt."""
    text = draw(st.one_of(networks(), st.sampled_from(published())))
    return mutated_text(text, Random(draw(st.integers(0, 2**32 - 1))))


@st.composite
def mutants_with_weights(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good network, and a mutated caffemodel of it or of one much like it."""
    text = draw(networks())
    weights = seeded(text)
    if len(weights) > LONGEST_BYTES:
        text, weights = SMALL, seeded(SMALL)
    return text, mutated_weights(weights, Random(draw(st.integers(0, 2**32 - 1))))


def seeded(text: str) -> bytes:
    """The caffemodel of a network with seeded weights; empty where it would be a megabyte."""
    net = prototxt.parse(text, "network")
    if caffemodel.file_size_bytes(net) > 1 << 20:
        return bytes(1 << 20)
    return caffemodel.seeded_weights(net).SerializeToString()


# Of text


def _replace(text: str, random: Random, pattern: str, by: Callable[[re.Match[str]], str]) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    match = random.choice(found)
    return text[: match.start()] + by(match) + text[match.end() :]


def _other_number(text: str, random: Random) -> str:
    number = random.choice(NUMBERS) if random.random() < 0.5 else str(random.randint(0, 12))
    return _replace(text, random, r"(?<=: )-?\d[\w.]*", lambda _: number)


def _other_string(text: str, random: Random) -> str:
    known = re.findall(r'"[^"\n]*"', text)
    return _replace(text, random, r'"[^"\n]*"', lambda _: random.choice((*STRINGS, *known * 2)))


def _other_type(text: str, random: Random) -> str:
    types = (*RULES, *DATA_TYPES, *forks.LAYERS, "")
    return _replace(text, random, r'type: "\w*"', lambda _: f'type: "{random.choice(types)}"')


def _other_word(text: str, random: Random) -> str:
    words = re.findall(r"[A-Za-z_]\w*", text)
    words += list(caffe.LayerParameter.DESCRIPTOR.fields_by_name)
    return _replace(text, random, r"[A-Za-z_]\w*", lambda _: random.choice(words))


def _token_lost(text: str, random: Random) -> str:
    return _replace(text, random, _TOKEN.pattern, lambda _: "")


def _token_put_in(text: str, random: Random) -> str:
    more = random.choice((*NUMBERS, *STRINGS, "{", "}", "[", "]", "<", ">", ":", "#", "\\", "\0"))
    return _replace(text, random, _TOKEN.pattern, lambda match: f"{match.group()} {more}")


def _layers_moved(text: str, random: Random) -> str:
    head, *layers = _LAYERS.split(text)
    if not layers:
        return text
    at, kind = random.randrange(len(layers)), random.randrange(5)
    if kind == 0:
        del layers[at]
    elif kind == 1:
        layers[at:at] = [layers[at]] * random.choice((1, 2, 100))
    elif kind == 2:
        other = random.randrange(len(layers))
        layers[at], layers[other] = layers[other], layers[at]
    elif kind == 3:
        layers.insert(at, random.choice(_LAYERS.split(random.choice(published()))))
    else:
        head, layers = "", layers[at:]
    return head + "".join(layers)


def _field_put_in(text: str, random: Random) -> str:
    """Any field of a layer, or of a message in it, where one of that kind is."""
    field: Any = random.choice(list(caffe.LayerParameter.DESCRIPTOR.fields))
    inner = re.findall(r"(\w+_param) \{", text)
    if inner and random.random() < 0.7:
        name = random.choice(inner)
        field = caffe.LayerParameter.DESCRIPTOR.fields_by_name.get(name, field)
    if field.name in inner:
        written = _fields(field.message_type, random)
        return _replace(text, random, rf"{field.name} \{{", lambda m: f"{m.group()} {written} ")
    written = _field(field, random, 0)
    return _replace(text, random, r"\} *\n(?=layer|$)", lambda match: f" {written} {match.group()}")


def _fields(schema: Descriptor, random: Random, depth: int = 0) -> str:
    chosen = random.choices(list(schema.fields), k=random.choice((1, 1, 2, 5)))
    return " ".join(_field(field, random, depth) for field in chosen)


def _field(field: FieldDescriptor, random: Random, depth: int) -> str:
    if field.message_type is not None:
        inner = _fields(field.message_type, random, depth + 1) if depth < 4 else ""
        return f"{field.name} {{ {inner} }}"
    if field.enum_type is not None:
        value = random.choice(list(field.enum_type.values_by_name))
    elif field.cpp_type == field.CPPTYPE_STRING:
        value = random.choice(STRINGS[:-5])
    elif field.cpp_type == field.CPPTYPE_BOOL:
        value = random.choice(("true", "false"))
    else:
        value = random.choice((*NUMBERS, *"0123456789" * 4))
    repeats = random.choice((1, 1, 2, 4, 50)) if field.is_repeated else 1
    return f"{field.name}: {value} " * repeats


def _nested(text: str, random: Random) -> str:
    depth = random.choice((3, 40, 1000))
    opener = random.choice(("layer {", "[", "<", "layer { convolution_param {"))
    return text + opener * depth + random.choice(("", "}" * depth))


def _cut(text: str, random: Random) -> str:
    return text[: random.randrange(len(text) + 1)]


def _many(text: str, random: Random) -> str:
    """One short thing as often as the file has room."""
    what = random.choice(
        ('layer { }', 'top: "a" ', "x: 1 ", "{ }", 'input: "i" ', "input_dim: 9 ", "# ", "\n",
         'layer { name: "s" type: "Silence" bottom: "data" }\n', "layers { }", '"', "-1 ", "a{",
         'layer { type: "Input" top: "q" input_param { shape { dim: 9 } } }\n')
    )  # fmt: skip
    return _replace(text, random, r"\n|^", lambda _: what * (LONGEST_BYTES // len(what)))


_OF_TEXT: Sequence[Callable[[str, Random], str]] = (
    *[_other_number] * 8, *[_other_string] * 4, *[_other_type] * 2, *[_layers_moved] * 4,
    *[_field_put_in] * 8, _other_word, _token_lost, _token_put_in, _nested, _cut, _many,
)  # fmt: skip


# Of weights


def _with_changed_blobs(weights: bytes, random: Random) -> bytes:
    """Shapes, names and counts of values as another writer, or none at all, would have them."""
    net = caffe.NetParameter.FromString(weights)
    layers = [layer for layer in net.layer if layer.blobs]
    for layer in random.sample(layers, min(len(layers), random.randint(1, 2))):
        blob = random.choice(layer.blobs)
        kind = random.randrange(7)
        if kind == 0:
            number = int(random.choice([n for n in NUMBERS if re.fullmatch(r"-?\d{1,19}", n)]))
            blob.shape.dim.append(max(-(2**63), min(2**63 - 1, number)))
        elif kind == 1:
            blob.shape.dim[:] = [0] * random.choice((0, 1, 33, 2000))
        elif kind == 2:
            blob.ClearField("shape")
            blob.num, blob.channels, blob.height = -1, 2**31 - 1, random.choice((0, 1))
        elif kind == 3:
            blob.double_data.extend(blob.data)
        elif kind == 4:
            del blob.data[random.randrange(len(blob.data) + 1) :]
        elif kind == 5:
            layer.name = random.choice(("", "data", "n" * 3000, "\x1b[2J", "\u202e"))
        else:
            old = net.layers.add(name=layer.name)
            old.blobs.extend(layer.blobs)
            layer.ClearField("blobs")
    return net.SerializeToString()
