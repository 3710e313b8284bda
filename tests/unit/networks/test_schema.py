"""The schema is one: its text, its compiled form and the types that pibench names agree."""

from __future__ import annotations

import re
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from pibench.engines.caffe import caffe_pb2 as caffe

FOLDER = Path(caffe.__file__).parent
TYPES = {
    getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name
    for name in ("bool", "double", "float", "int32", "int64", "string", "uint32")
}


def kind(field: FieldDescriptor) -> str:
    """Return a field's type as the text names it."""
    other = field.message_type or field.enum_type
    return other.name if other else TYPES[field.type]


def options(field: FieldDescriptor) -> str:
    """Return a field's default and packing as the text has them."""
    if field.GetOptions().HasField("packed"):
        return "packed = true"
    if not field.has_default_value:
        return ""
    default = field.default_value
    if field.enum_type is not None:
        default = field.enum_type.values_by_number[default].name
    return "default = " + (f'"{default}"' if isinstance(default, str) else f"{default:g}")


def in_text() -> set[tuple[str, ...]]:
    """Return every field and enum value of caffe.proto, with the names around it."""
    found, path = set(), []
    text = re.sub(r"//.*", "", (FOLDER / "caffe.proto").read_text(encoding="utf-8"))
    for line in map(str.strip, text.splitlines()):
        if match := re.fullmatch(r"(?:message|enum) (\w+) \{", line):
            path.append(match[1])
        elif line == "}":
            path.pop()
        elif match := re.fullmatch(r"(\w+) (\w+) (\w+) = (\d+)(?: \[(.*)\])?;", line):
            label, of, name, number, options = match.groups(default="")
            options = re.sub(r"= (true|false)$", _boolean, options) if of == "bool" else options
            options = re.sub(r"= ([-+.\de]+)$", lambda it: f"= {float(it[1]):g}", options)
            found.add((*path, label, of, name, number, _enum(options)))
        elif match := re.fullmatch(r"(\w+) = (\d+);", line):
            found.add((*path, match[1], match[2]))
    return found


def _boolean(match: re.Match[str]) -> str:
    return f"= {int(match[1] == 'true')}"


def _enum(options: str) -> str:
    value = options.removeprefix("default = ")
    return f'default = "{value}"' if re.fullmatch(r"[A-Z]\w*", value) else options


def compiled(message: Descriptor, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Return the same of one compiled message."""
    here = (*path, message.name)
    found = {
        (*here, _label(field), kind(field), field.name, str(field.number), options(field))
        for field in message.fields
    }
    for enum in message.enum_types:
        found |= {(*here, enum.name, value.name, str(value.number)) for value in enum.values}
    return found


def _label(field: FieldDescriptor) -> str:
    return "repeated" if field.is_repeated else "required" if field.is_required else "optional"


def test_the_compiled_form_is_that_of_the_text() -> None:
    schema = caffe.DESCRIPTOR
    found = set().union(*map(compiled, schema.message_types_by_name.values()))
    for enum in schema.enum_types_by_name.values():
        found |= {(enum.name, value.name, str(value.number)) for value in enum.values}
    assert len(found) > 400
    assert found == in_text()


def test_the_types_are_those_of_the_schema() -> None:
    python = {"int32": "int", "int64": "int", "uint32": "int", "double": "float", "string": "str"}
    message, named = None, 0
    for line in (FOLDER / "caffe_pb2.pyi").read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"class (\w+)\(Message\):", line):
            message = caffe.DESCRIPTOR.message_types_by_name[match[1]]
        elif (match := re.fullmatch(r"    (\w+): (\w+)(?:\[(\w+)\])?", line)) and message:
            name, outer, inner = match.groups()
            if outer in ("ClassVar", "EnumTypeWrapper"):
                assert name in {**message.enum_values_by_name, **message.enum_types_by_name}
                continue
            field = message.fields_by_name[name]
            wanted = "int" if field.enum_type else python.get(kind(field), kind(field))
            assert (inner or outer) == wanted, (message.name, name)
            assert (outer in ("Messages", "Values")) == field.is_repeated, (message.name, name)
            named += 1
    assert named > 150
