"""Istio's own messages that a sidecar needs, declared from their field numbers.

Only the fields that are used are declared; what else a peer sends is skipped, as protobuf has it. The numbers are those
of Istio's API: security/v1alpha1/ca.proto (certificate service), networking/nds (name table) and
mesh/v1alpha1/proxy.proto (what is trusted besides), proto3 all.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool, message_factory, struct_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from meshproxy.messages.declared import OF, field, map_entry

CREATE_CERTIFICATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
NAME_TABLE_TYPE = "type.googleapis.com/istio.networking.nds.v1.NameTable"
PROXY_CONFIG_TYPE = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig"


def _certificate_file() -> FileDescriptorProto:
    return FileDescriptorProto(
        name="meshproxy/istio_ca.proto",
        package="istio.v1.auth",
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
        message_type=[
            DescriptorProto(
                name="IstioCertificateRequest",
                field=[
                    field("csr", 1, OF.TYPE_STRING),
                    field("validity_duration", 3, OF.TYPE_INT64),
                    field("metadata", 4, OF.TYPE_MESSAGE, ".google.protobuf.Struct"),
                ],
            ),
            DescriptorProto(
                name="IstioCertificateResponse", field=[field("cert_chain", 1, OF.TYPE_STRING, repeated=True)]
            ),
        ],
    )


def _name_file() -> FileDescriptorProto:
    package = "istio.networking.nds.v1"
    info = DescriptorProto(
        name="NameInfo",
        field=[
            field("ips", 1, OF.TYPE_STRING, repeated=True),
            field("registry", 2, OF.TYPE_STRING),
            field("shortname", 3, OF.TYPE_STRING),
            field("namespace", 4, OF.TYPE_STRING),
        ],
    )
    table = DescriptorProto(
        name="NameTable",
        nested_type=[info, map_entry("TableEntry", OF.TYPE_MESSAGE, f".{package}.NameTable.NameInfo")],
        field=[field("table", 1, OF.TYPE_MESSAGE, f".{package}.NameTable.TableEntry", repeated=True)],
    )
    return FileDescriptorProto(name="meshproxy/istio_nds.proto", package=package, syntax="proto3", message_type=[table])


def _proxy_file() -> FileDescriptorProto:
    config = DescriptorProto(
        name="ProxyConfig", field=[field("ca_certificates_pem", 34, OF.TYPE_STRING, repeated=True)]
    )
    return FileDescriptorProto(
        name="meshproxy/istio_proxy.proto", package="istio.mesh.v1alpha1", syntax="proto3", message_type=[config]
    )


# A pool of its own: another package may know the same names.
_POOL = descriptor_pool.DescriptorPool()
_struct = FileDescriptorProto()
struct_pb2.DESCRIPTOR.CopyToProto(_struct)
for _file in (_struct, _certificate_file(), _name_file(), _proxy_file()):
    _POOL.Add(_file)


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


CertificateRequest = _class("istio.v1.auth.IstioCertificateRequest")
CertificateResponse = _class("istio.v1.auth.IstioCertificateResponse")
ProxyConfigMessage = _class("istio.mesh.v1alpha1.ProxyConfig")
NameTableMessage = _class("istio.networking.nds.v1.NameTable")
