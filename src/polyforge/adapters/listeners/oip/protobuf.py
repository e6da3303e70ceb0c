"""Protobuf's binary form of a declared schema, through google.protobuf: message classes in a pool of their own.

A pool of its own, because a process may hold other people's generated code for the same names.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from polyforge.dialects.protobuf_schema import Field, Schema

_Proto = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "double": _Proto.TYPE_DOUBLE,
    "float": _Proto.TYPE_FLOAT,
    "int64": _Proto.TYPE_INT64,
    "uint64": _Proto.TYPE_UINT64,
    "int32": _Proto.TYPE_INT32,
    "uint32": _Proto.TYPE_UINT32,
    "bool": _Proto.TYPE_BOOL,
    "string": _Proto.TYPE_STRING,
    "bytes": _Proto.TYPE_BYTES,
}


class Messages:
    """The message classes of schemas that make up one package, by name."""

    def __init__(self, package: str, *schemas: Schema) -> None:
        self.package = package
        self._enums = {name for schema in schemas for name in schema.enums}
        file = descriptor_pb2.FileDescriptorProto(name=f"polyforge/{package}.proto", package=package, syntax="proto3")
        for schema in schemas:
            self._declare(file, schema)
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)  # pyright: ignore[reportUnknownMemberType]
        self._classes: dict[str, Any] = {
            message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{message.name}"))
            for message in file.message_type
        }

    def __getitem__(self, name: str) -> Any:
        """The class of a message."""
        return self._classes[name]

    def _declare(self, file: descriptor_pb2.FileDescriptorProto, schema: Schema) -> None:
        for name, numbers in schema.enums.items():
            enum = file.enum_type.add(name=name)
            for value, number in numbers.items():
                enum.value.add(name=value, number=number)
        for name, fields in schema.messages.items():
            message = file.message_type.add(name=name)
            choices = list(dict.fromkeys(field.choice for field in fields.values() if field.choice))
            for choice in choices:
                message.oneof_decl.add(name=choice)
            for field in fields.values():
                self._declare_field(message, field, choices)

    def _declare_field(self, message: descriptor_pb2.DescriptorProto, field: Field, choices: list[str]) -> None:
        declared = message.field.add(name=field.name, number=field.number, label=_Proto.LABEL_OPTIONAL)
        if field.choice is not None:
            declared.oneof_index = choices.index(field.choice)
        if field.repeated or field.key is not None:
            declared.label = _Proto.LABEL_REPEATED
        if field.key is None:
            self._set_type(declared, field.type)
            return
        entry = message.nested_type.add(name="".join(map(str.title, field.name.split("_"))) + "Entry")
        entry.options.map_entry = True
        for number, name, kind in ((1, "key", field.key), (2, "value", field.type)):
            self._set_type(entry.field.add(name=name, number=number, label=_Proto.LABEL_OPTIONAL), kind)
        declared.type = _Proto.TYPE_MESSAGE
        declared.type_name = f".{self.package}.{message.name}.{entry.name}"

    def _set_type(self, declared: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
        if kind in _TYPES:
            declared.type = _TYPES[kind]
            return
        declared.type = _Proto.TYPE_ENUM if kind in self._enums else _Proto.TYPE_MESSAGE
        declared.type_name = f".{self.package}.{kind}"
