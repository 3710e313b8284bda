"""Read and write networks as text (prototxt), with a one-line error for every bad file."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import text_format

from pibench.engines.caffe import caffe_pb2 as caffe
from pibench.engines.caffe import foreign, fork_fields, forks, outline, topology
from pibench.errors import InvalidInputError
from pibench.file_io import is_standard_input, is_stream, read_once, size_bytes, unreadable

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_FILE_BYTES = 32 << 20
"""The longest network of the zoo has 0.3 MB of text; a file a hundred times as long is not one."""

MOST_TOKENS = 300_000
"""The longest network of the zoo has a tenth of that."""

REPAIR_HINT = "use --repair"

_NET_FIELDS = ("layer", "layers", "input")
_LIKE_A_NUMBER = re.compile(r"[+-]?\.?[0-9]|\+")
_NO_NUMBER = re.compile(r"-?(inf|infinity|nan)f", re.IGNORECASE)
"""Python's parser takes an f behind these too."""
_NUMBER = re.compile(
    r"-?(0[xX][0-9a-fA-F]+|0[0-7]+|((?!0[0-9])[0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[fF]?)"
)
"""Caffe's parser takes these (google/protobuf/io/tokenizer.cc); Python's takes 1_0, 0b1 and +1."""


def read_text(path: Path | str) -> str:
    """Return the text of the file at `path`; "-" is standard input.

    Raises:
        InvalidInputError: It cannot be read, or is not text.
    """
    name = place(path)
    raw = _read_bytes(Path(path), name)
    if kind := foreign.of_bytes(raw):
        what, hint = kind
        raise InvalidInputError.at(name, None, f"is {what}", hint=hint)
    try:
        # Caffe's parser skips a byte order mark too.
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError.at(
            name,
            f"byte {error.start}",
            "is not UTF-8 text",
            hint="save the file as UTF-8",
        ) from None


def place(path: Path | str) -> str:
    """Return the name of a prototxt in errors."""
    return "standard input" if is_standard_input(path) else str(path)


def _read_bytes(path: Path, name: str) -> bytes:
    """Return the content, or the first bytes of a file that is too large but of a known kind."""
    if is_stream(path):
        raw = read_once(path)
    else:
        size_bytes(path, "prototxt")
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise unreadable(path, error) from None
    if len(raw) > MAX_FILE_BYTES and not foreign.of_bytes(raw):
        raise InvalidInputError.at(
            name,
            None,
            f"is too large for a prototxt (more than {MAX_FILE_BYTES} bytes)",
            hint="a network's text is well under 1 MB; weights go with --weights",
        )
    return raw


def parse(text: str, path: Path | str, *, opaque: Collection[str] = ()) -> caffe.NetParameter:
    """Parse the network in `text`; `path` names it in errors.

    Unknown fields of the layers named in `opaque` do not count.

    Raises:
        InvalidInputError: Stock Caffe could not parse it; the error names the line.
    """
    text, unknown = scan(text, path)
    if unknown and opaque:
        text, unknown = _without_those_of(text, unknown, opaque, path)
    if unknown:
        raise _refusal(text, unknown, path)
    net = parse_known(text, path)
    if net.layers and not net.layer:
        from pibench.engines.caffe.upgrade import upgrade  # noqa: PLC0415  (start-up time)

        upgrade(net, path)
    return net


def scan(text: str, path: Path | str) -> tuple[str, list[outline.UnknownField]]:
    """Return `text` with the parameters of fork layers as stock Caffe reads them.

    Returns:
        The text, and its fields that neither stock Caffe nor these layers have.

    Raises:
        InvalidInputError: The text is empty, has NUL characters or braces that do not pair, or the
            parameters of a fork layer are wrong.
    """
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InvalidInputError.at(
            path, f"line {line}", "contains a NUL character", hint="copy the file again, as text"
        )
    found = outline.tokens(text, MOST_TOKENS + 1)
    if len(found) > MOST_TOKENS:
        raise InvalidInputError.at(
            path, None, f"has more than {MOST_TOKENS:,} words and signs, too many for a network",
            hint="give a network's prototxt; weights go with --weights",
        )  # fmt: skip
    accepted: set[str] = set()
    for token in found:
        if token.text in accepted:
            continue
        if problem := _not_for_caffe(token):
            line = text.count("\n", 0, token.start) + 1
            raise InvalidInputError.at(path, f"line {line}", problem, hint="correct the line")
        accepted.add(token.text)
    if not found:
        raise InvalidInputError.at(
            path, None, "is empty: it contains no network", hint="check the file"
        )
    unknown = outline.unknown_fields(text, found, path, caffe.NetParameter)
    if not {"layer", "layers"}.intersection(outline.top_level_messages(found)):
        fields = {field.name: field.value for field in unknown if not field.parent}
        if kind := foreign.of_fields(fields):
            what, hint = kind
            raise InvalidInputError.at(path, None, f"is {what}", hint=hint)
    known = [field for field in unknown if forks.is_known(field)]
    if known:
        text = forks.as_stock(text, known, path)
        unknown = outline.unknown_fields(text, outline.tokens(text), path, caffe.NetParameter)
    return text, unknown


def _without_those_of(
    text: str, unknown: list[outline.UnknownField], layers: Collection[str], path: Path | str
) -> tuple[str, list[outline.UnknownField]]:
    """Return the text without the unknown fields of these layers, and the other unknown fields."""
    with suppress(InvalidInputError):
        net = parse_known(outline.without(text, unknown), path)
        own = [
            field
            for field in unknown
            if (layer := enclosing(net, field)) is not None and layer.name in layers
        ]
        return outline.without(text, own), [field for field in unknown if field not in own]
    return text, unknown


def _not_for_caffe(token: outline.Token) -> str | None:
    """Explain why Caffe's parser rejects a token that Python's accepts; None if it does not."""
    if token.kind == "string":
        return None
    if not token.text.isascii():
        return f"stray character {token.text!r}"
    if _LIKE_A_NUMBER.match(token.text) and not _NUMBER.fullmatch(token.text):
        return f"{token.text!r} is not a number"
    if _NO_NUMBER.fullmatch(token.text):
        return f"{token.text!r} is not a number"
    if token.text == "-":
        return "a minus sign is apart from its number"
    return None


def _refusal(text: str, unknown: list[outline.UnknownField], path: Path | str) -> InvalidInputError:
    """Return the error for the first unknown field, or for the unknown type of its layer."""
    first = unknown[0]
    for field in unknown:
        if field.within == first.within and outline.is_layer_type(field):
            return unknown_type(field, path)
    with suppress(InvalidInputError):
        layer = enclosing(parse_known(outline.without(text, unknown), path), first)
        if isinstance(layer, caffe.LayerParameter) and (refused := _refused_type(layer)):
            problem, hint = refused
            return InvalidInputError.at(path, topology.place(layer), problem, hint=hint)
    return _unknown_field(first, path)


def enclosing(
    net: caffe.NetParameter, field: outline.UnknownField
) -> caffe.LayerParameter | caffe.V1LayerParameter | None:
    """Return the layer of `net` that has the field in its text; None for one outside of layers."""
    name, index = field.within
    if name == "layer":
        return net.layer[index]
    return net.layers[index] if name == "layers" else None


def _refused_type(layer: caffe.LayerParameter) -> tuple[str, str] | None:
    """Return problem and hint of a layer type that Caffe does not know; None for one it does."""
    from pibench.engines.caffe.shapes import rules  # noqa: PLC0415  (start-up time)
    from pibench.engines.caffe.shapes.checks import Refused  # noqa: PLC0415  (start-up time)

    if not layer.type or layer.type in {*rules.DATA_TYPES, *rules.UNSUPPORTED}:
        return None
    try:
        rules.rule_of(layer)
    except Refused as refused:
        in_test = topology.included(layer, caffe.NetState(), "TEST")
        if not in_test and not rules.is_data(layer):
            return refused.problem, f"{REPAIR_HINT} to take it out: it belongs to training only"
        return refused.problem, refused.hint
    return None


def unknown_type(field: outline.UnknownField, path: Path | str) -> InvalidInputError:
    """Return the error for a first-generation layer of a type that Caffe lacks."""
    from pibench.engines.caffe.shapes.rules import RULES  # noqa: PLC0415  (start-up time)

    current = {kind.lower(): kind for kind in (*RULES, *forks.LAYERS)}
    for descriptor in caffe.V1LayerParameter.LayerType.DESCRIPTOR.values:
        current.pop(descriptor.name.replace("_", "").lower(), None)
    if field.value.startswith(("'", '"')):
        hint = "types have quotes in 'layer', not in 'layers': write 'layer'"
    elif kind := current.get(field.value.replace("_", "").lower()):
        hint = f"'layer' has it, as type: \"{kind}\": write every 'layers' in that form"
    else:
        hint = f"did you mean {field.near!r}?" if field.near else "replace the layer by stock ones"
    problem = f"stock Caffe has no layer type {field.value}"
    return InvalidInputError.at(path, f"line {field.line}", problem, hint=hint)


def _unknown_field(field: outline.UnknownField, path: Path | str) -> InvalidInputError:
    """Return the error that names one unknown field, its origin and the fix."""
    what = f"{field.name}: {field.value}" if field.value else field.name
    inside = f" in {field.parent}" if field.parent else ""
    noun = "value" if field.known_name else "field"
    origin = outline.describe_field(field.name, field.value)
    problem = f"stock Caffe has no {noun} '{what}'{inside}"
    if origin:
        problem += f" ({origin})"
        hint = (
            f"{REPAIR_HINT} to {'write it so' if fork_fields.has_meaning(field) else 'take it out'}"
        )
    elif field.near:
        hint = f"did you mean {field.near!r}?"
    else:
        hint = f"correct the name, or {REPAIR_HINT} to take it out"
    return InvalidInputError.at(path, f"line {field.line}", problem, hint=hint)


def parse_known(text: str, path: Path | str) -> caffe.NetParameter:
    """Parse `text`, whose fields are all known, and check that it contains a network."""
    net = caffe.NetParameter()
    try:
        with warnings.catch_warnings():
            # Python only warns of escapes such as "\,"; Caffe's parser rejects them.
            warnings.simplefilter("error", DeprecationWarning)
            text_format.Parse(text, net)
    except text_format.ParseError as error:
        line = error.GetLine()
        raise InvalidInputError.at(
            path, f"line {line}" if line else None, _cleaned(str(error)), hint="correct the line"
        ) from None
    except (ValueError, RecursionError, DeprecationWarning) as error:
        # Lone surrogates and numbers out of range raise a plain ValueError.
        raise InvalidInputError.at(
            path, None, f"cannot be parsed ({_cleaned(str(error))})", hint="check the file"
        ) from None
    _check_required(net, path)
    forks.write_out(net)
    _drop_unsized_inputs(net)
    if not any(len(getattr(net, field)) for field in _NET_FIELDS):
        raise InvalidInputError.at(
            path, None, "contains no layer", hint="check that this is a network, not a solver"
        )
    return net


def _drop_unsized_inputs(net: caffe.NetParameter) -> None:
    """Drop `input` lines without sizes, as Caffe does, where layers make the blobs themselves."""
    if net.input_shape or net.input_dim:
        return
    if {top for layer in net.layer for top in layer.top}.issuperset(net.input):
        net.ClearField("input")


def _check_required(net: caffe.NetParameter, path: Path | str) -> None:
    """Reject a message without its required fields, or a fork's message in a wrong layer."""
    if layer := forks.mismatch(net):
        if refused := _refused_type(layer):
            raise InvalidInputError.at(path, topology.place(layer), refused[0], hint=refused[1])
        raise InvalidInputError.at(
            path,
            topology.place(layer),
            f"{layer.type or 'a layer without type'} has no {layer.python_param.layer}: that is of "
            f"{' or '.join(forks.FIELDS[layer.python_param.layer])}",
            hint="correct the layer's type, or the field's name",
        )
    for layer in net.layer:
        if problem := forks.check(layer):
            raise InvalidInputError.at(
                path, topology.place(layer), problem, hint="correct its parameters"
            )
        if not layer.IsInitialized():
            # No other message of the schema has required fields.
            raise InvalidInputError.at(
                path, topology.place(layer), "clip_param lacks min or max", hint="give both"
            )


def _cleaned(message: str) -> str:
    """Return protobuf's message on one line, without position, quoted line and package name."""
    message = re.sub(r"^\d+:\d+ : (?:'.*?': )?", "", message, flags=re.DOTALL)
    message = re.sub(r"pibench\.caffe\.", "", message)
    printable = "".join(c if c.isprintable() else " " for c in message)
    shortened = re.sub(r"\s+", " ", printable).strip()
    return shortened if len(shortened) <= 200 else shortened[:197] + "..."


def write(net: caffe.NetParameter) -> str:
    """Return the network as text that stock Caffe and `parse` read back to the same network."""
    return text_format.MessageToString(net)
