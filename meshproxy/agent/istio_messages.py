"""Istio's own messages that a sidecar needs, declared from their field numbers.

Only the fields that are used are declared; what else a peer sends is skipped, as protobuf has it. The numbers are those
of Istio's API: security/v1alpha1/ca.proto (certificate service) and networking/nds (name table), proto3 both.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

CREATE_CERTIFICATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
NAME_TABLE_TYPE = "type.googleapis.com/istio.networking.nds.v1.NameTable"

_Field = descriptor_pb2.FieldDescriptorProto


def _field(message: Any, name: str, number: int, kind: int, *, repeated: bool = False, of: str = "") -> None:
    field = message.field.add()
    field.name, field.number, field.type = name, number, kind
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    if of:
        field.type_name = of


def _certificate_file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="meshproxy/istio_ca.proto",
        package="istio.v1.auth",
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
    )
    request = file.message_type.add(name="IstioCertificateRequest")
    _field(request, "csr", 1, _Field.TYPE_STRING)
    _field(request, "validity_duration", 3, _Field.TYPE_INT64)
    _field(request, "metadata", 4, _Field.TYPE_MESSAGE, of=".google.protobuf.Struct")
    response = file.message_type.add(name="IstioCertificateResponse")
    _field(response, "cert_chain", 1, _Field.TYPE_STRING, repeated=True)
    return file


def _name_file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="meshproxy/istio_nds.proto", package="istio.networking.nds.v1", syntax="proto3"
    )
    table = file.message_type.add(name="NameTable")
    info = table.nested_type.add(name="NameInfo")
    _field(info, "ips", 1, _Field.TYPE_STRING, repeated=True)
    _field(info, "registry", 2, _Field.TYPE_STRING)
    _field(info, "shortname", 3, _Field.TYPE_STRING)
    _field(info, "namespace", 4, _Field.TYPE_STRING)
    entry = table.nested_type.add(name="TableEntry")
    entry.options.map_entry = True
    _field(entry, "key", 1, _Field.TYPE_STRING)
    _field(entry, "value", 2, _Field.TYPE_MESSAGE, of=".istio.networking.nds.v1.NameTable.NameInfo")
    _field(table, "table", 1, _Field.TYPE_MESSAGE, repeated=True, of=".istio.networking.nds.v1.NameTable.TableEntry")
    return file


# A pool of its own: another package may know the same names.
_POOL = descriptor_pool.DescriptorPool()
_struct = descriptor_pb2.FileDescriptorProto()
struct_pb2.DESCRIPTOR.CopyToProto(_struct)
for _file in (_struct, _certificate_file(), _name_file()):
    _POOL.Add(_file)


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


CertificateRequest = _class("istio.v1.auth.IstioCertificateRequest")
CertificateResponse = _class("istio.v1.auth.IstioCertificateResponse")
NameTableMessage = _class("istio.networking.nds.v1.NameTable")
