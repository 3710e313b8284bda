"""Parse the outline of a prototxt: its fields, their positions, and those that Caffe lacks.

Protobuf's text parser stops at the first unknown field and reports little about a file that ends
too early. This pass walks the text once, along the schema, and finds every unknown field with its
position, so that one error can name it, and a repair can remove all of them.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, cast

from pibench.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from pibench.engines.caffe import caffe_pb2 as caffe

LIKENESS = 0.8
"""How similar two names must be (of 1) for one to count as a misspelling of the other."""
MAX_DEPTH = 32
"""Stock messages nest five deep. Deeper text is not a network, and would exhaust the parser."""

_TOKEN = re.compile(
    r"""(?>[ \t\r\n\f\v]+|\#[^\n]*)*+
      (?: (?P<word>[A-Za-z_0-9.+-]+)
        | (?P<mark>[{}<>\[\]:,;])
        | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
        | (?P<end>\Z)
        | (?P<other>.))""",
    re.VERBOSE | re.DOTALL,
)
"""Blanks and comments, which are never given back, and the token behind them."""
_CLOSER = {"{": "}", "<": ">"}

_ORIGINS = {
    "a private patch; stock Caffe has round_mode": ("ceil_mode",),
    "of the DeepLab fork; stock Caffe has dilation": ("hole", "hole_h", "hole_w"),
    "of Synopsys' fork; stock Caffe has pad_h and pad_w": (
        "pad_l", "pad_r", "pad_t", "pad_b", "pad_left", "pad_right", "pad_top", "pad_bottom",
        "pad_type",
    ),
    "an engine of Intel's fork": ("engine",),
    "a field of Intel's fork": (
        "shuffle", "shuffle_param", "bn_stats", "multinode", "fusion_type", "relu",
        "negative_slope",
    ),
    "of the SegNet fork": ("bn_param", "upsample_param"),
    "of the SSD fork": (
        "permute_param", "prior_box_param", "norm_param", "detection_output_param",
        "multibox_loss_param",
    ),
    "of the Fast R-CNN fork": ("roi_pooling_param", "smooth_l1_loss_param"),
    "of the DeepLab and PSPNet forks": ("interp_param",),
    "of the ShuffleNet patch": ("shuffle_channel_param",),
    "of the Ristretto fork": ("quantization_param", "lpfp_param"),
    "of NVIDIA's fork": (
        "cudnn_param", "forward_type", "backward_type", "forward_math", "backward_math",
        "default_forward_type", "default_backward_type",
    ),
}  # fmt: skip
"""Fields of forks and patches, by origin."""


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field (or the value of an enum field) that the schema does not have."""

    name: str
    value: str
    """The value as written; empty for a message."""
    parent: str
    """The enclosing field, such as pooling_param; empty at the top level."""
    known_name: bool
    """True when the field exists and only its value does not."""
    near: str
    """The most similar name that the schema has there; empty if none is similar."""
    line: int
    start: int
    end: int
    """Character span of the whole field in the text."""
    within: tuple[str, int]
    """The message at the top level that has the field, such as layer, and its position among those
    of this name; ("", 0) for a field of the top level."""


class Token(NamedTuple):
    """A word, string, mark or anything else ("other"), and its span in the text."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str, most: int | None = None) -> list[Token]:
    """Return the tokens of `text` without blanks and comments; unexpected ones are "other".

    Reads no further than `most` tokens.
    """
    return list(islice(_tokens(text), most))


def _tokens(text: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "end"
        if kind == "end":
            return
        start, end = match.span(kind)
        yield Token(kind, text[start:end], start, end)


def unknown_fields(
    text: str, found: list[Token], path: Path | str, root: type[caffe.NetParameter]
) -> list[UnknownField]:
    """Return every field of `text` that message `root` and those below it do not have.

    `found` are its tokens. Other errors are left to protobuf's parser, which reports them well.

    Raises:
        InvalidInputError: Braces do not pair, or nest deeper than MAX_DEPTH.
    """
    walk = _Walk(text, found, path)
    walk.message(cast("Descriptor", root.DESCRIPTOR), parent="", opener=None, depth=0)
    return walk.found


def without(text: str, fields: Sequence[UnknownField]) -> str:
    """Return `text` with blanks in place of `fields`, which preserve the line numbers."""
    pieces, before = [], 0
    for field in fields:
        gap = "".join("\n" if c == "\n" else " " for c in text[field.start : field.end])
        pieces += [text[before : field.start], gap]
        before = field.end
    return "".join(pieces) + text[before:]


def is_layer_type(field: UnknownField) -> bool:
    """Return whether the field is the unknown type of a first-generation layer."""
    return field.parent == "layers" and field.name == "type"


def top_level_messages(found: Iterable[Token]) -> list[str]:
    """Return the names of the fields that open a message at the top level, in order."""
    names: list[str] = []
    name, depth = "", 0
    for token in found:
        if token.kind == "mark" and token.text in _CLOSER:
            names += [name] if depth == 0 else []
            depth += 1
        elif token.kind == "mark" and token.text in _CLOSER.values():
            depth -= 1
        elif token.kind == "word" and depth == 0:
            name = token.text
    return names


class _Walk:
    """A recursive descent over the tokens, at most MAX_DEPTH deep."""

    def __init__(self, text: str, found: list[Token], path: Path | str) -> None:
        self.text = text
        self.path = path
        self.tokens = found
        self.position = 0
        self.found: list[UnknownField] = []
        self.opened: Counter[str] = Counter()
        self.within = ("", 0)
        self._counted = (0, 1)
        """An offset, and its line: the next one that is asked for is near it."""

    def line(self, offset: int) -> int:
        at, line = self._counted
        if offset < at:
            line -= self.text.count("\n", offset, at)
        else:
            line += self.text.count("\n", at, offset)
        self._counted = (offset, line)
        return line

    def fail(self, offset: int, problem: str, hint: str) -> InvalidInputError:
        return InvalidInputError.at(self.path, f"line {self.line(offset)}", problem, hint=hint)

    def peek(self) -> Token | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def message(
        self, schema: Descriptor | None, *, parent: str, opener: Token | None, depth: int
    ) -> None:
        """Read fields up to the brace that closes `opener`, or to the end at the top level."""
        if depth > MAX_DEPTH:
            offset = opener.start if opener else 0
            raise self.fail(
                offset, f"braces nest deeper than {MAX_DEPTH}", "a network has at most five levels"
            )
        while (token := self.peek()) is not None:
            if token.text in "}>" and token.kind == "mark":
                if opener is None:
                    raise self.fail(
                        token.start,
                        f"'{token.text}' closes nothing",
                        "remove it, or add the missing opening brace",
                    )
                self.position += 1
                return
            self.field(schema, parent=parent, depth=depth)
        if opener is not None:
            raise self.fail(
                opener.start,
                f"the '{opener.text}' opened here is never closed: the file is incomplete",
                f"add the missing '{_CLOSER[opener.text]}' or copy the file again",
            )

    def field(self, schema: Descriptor | None, *, parent: str, depth: int) -> None:
        """Read one `name: value` or `name { ... }`; any other token is skipped."""
        first = self.tokens[self.position]
        self.position += 1
        if first.kind != "word":
            return
        known: FieldDescriptor | None = schema.fields_by_name.get(first.text) if schema else None
        before = len(self.found)
        value = self.value(known, first.text, depth)
        if (token := self.peek()) is not None and token.kind == "mark" and token.text in ",;":
            self.position += 1
        if schema is None:
            return
        if known is not None and self.value_exists(known, value):
            return
        # Unknown fields inside an unknown field are part of it.
        del self.found[before:]
        self.found.append(
            UnknownField(
                name=first.text,
                value=" ".join(token.text for token in value),
                near=_nearest(schema, known, first.text, value),
                parent=parent,
                known_name=known is not None,
                line=self.line(first.start),
                start=first.start,
                end=self.tokens[self.position - 1].end,
                within=self.within if depth else ("", 0),
            )
        )

    def value(self, known: FieldDescriptor | None, name: str, depth: int) -> list[Token]:
        """Return the tokens of a scalar value or list; a message is walked and has none."""
        token = self.peek()
        if token is not None and token.text == ":" and token.kind == "mark":
            self.position += 1
            token = self.peek()
        if token is None:
            return []
        if token.kind == "mark" and token.text in _CLOSER:
            self.position += 1
            if depth == 0:
                self.within = (name, self.opened[name])
                self.opened[name] += 1
            inner = known.message_type if known is not None else None
            self.message(inner, parent=name, opener=token, depth=depth + 1)
            return []
        if token.kind == "mark" and token.text == "[":
            return self.bracketed(known, name, depth)
        return self.scalar()

    def scalar(self) -> list[Token]:
        """Read one word, or adjacent strings, which text format joins."""
        token = self.peek()
        if token is None or token.kind not in ("word", "string"):
            return []
        taken = [token]
        self.position += 1
        while token.kind == "string" and (more := self.peek()) and more.kind == "string":
            taken.append(more)
            self.position += 1
        return taken

    def bracketed(self, known: FieldDescriptor | None, name: str, depth: int) -> list[Token]:
        """Read a short list: `[1, 2]` or `[{...}, {...}]`."""
        opener = self.tokens[self.position]
        self.position += 1
        taken: list[Token] = []
        while (token := self.peek()) is not None:
            if token.kind == "mark" and token.text in "]}>":
                self.position += token.text == "]"
                return taken
            if token.kind == "mark" and token.text in _CLOSER:
                taken += self.value(known, name, depth)
            else:
                taken += [token] if token.kind in ("word", "string") else []
                self.position += 1
        raise self.fail(opener.start, "the '[' opened here is never closed", "add the missing ']'")

    @staticmethod
    def value_exists(known: FieldDescriptor, value: list[Token]) -> bool:
        """Return False for a name (or a quoted string) that is not a value of an enum field."""
        if known.enum_type is None:
            return True
        names = known.enum_type.values_by_name
        return all(
            token.kind == "word" and (token.text in names or not token.text[0].isalpha())
            for token in value
        )


def _nearest(
    schema: Descriptor, known: FieldDescriptor | None, name: str, value: list[Token]
) -> str:
    """Return the field, or the value of a known enum field, that was probably meant."""
    if known is None:
        meant, there = name, list(schema.fields_by_name)
    else:
        meant = value[0].text if value else ""
        there = list(known.enum_type.values_by_name) if known.enum_type else []
    by_lower = {candidate.lower(): candidate for candidate in there}
    close = difflib.get_close_matches(meant.lower(), list(by_lower), n=1, cutoff=LIKENESS)
    return by_lower[close[0]] if close else ""


def describe_field(name: str, value: str) -> str | None:
    """Return the origin of an unknown field (or an unknown value of a known one), if known."""
    if "MKL" in value.upper():
        return "an engine of Intel's fork"
    return next((origin for origin, names in _ORIGINS.items() if name in names), None)
