"""A workload as Istio's sidecars speak of it to each other: who it is, in each of the forms that are exchanged.

    Struct      a part of a node's metadata (NAME, NAMESPACE, OWNER, ...): in headers, and first on TCP connections
    baggage     `namespace=shop,workload=web,...`: in the header `baggage`
    endpoint    `workload;namespace;service;revision;cluster`: what a control plane says of an endpoint
    state       fields by short names (`workload`, `namespace`, ...): in the filter state, for expressions and logs

Names and forms are those of istio/proxy (extensions/common/metadata_object).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import Any, cast

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from meshproxy.records import dataclass

DOWNSTREAM_PEER, UPSTREAM_PEER = "downstream_peer", "upstream_peer"
NO_PEER = "peer_not_found"
"""Names in the filter state: the other end, and that it is known to say nothing of itself."""

_OBJECT = "_obj"
_SERVICE, _REVISION = "service.istio.io/canonical-name", "service.istio.io/canonical-revision"
_APPS = ("app.kubernetes.io/name", "app")
_VERSIONS = ("app.kubernetes.io/version", "version")
_KINDS = frozenset(("pod", "deployment", "job", "cronjob"))
_OWNER = "kubernetes://apis/apps/v1/namespaces/"
_BAGGAGE = {
    "k8s.namespace.name": "namespace",
    "k8s.cluster.name": "cluster",
    "service.name": "service",
    "service.version": "revision",
    "app.name": "app",
    "app.version": "version",
    "k8s.instance.name": "instance",
}
_STATE = {"kind": "type", "instance": "name"}
"""Fields whose short names in the filter state aren't ours."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Empty texts for what isn't known.

    kind: "pod", "deployment", "job" or "cronjob". service, revision: the canonical ones. labels: further ones that the
    configuration asks for, sorted.
    """

    workload: str = ""
    namespace: str = ""
    service: str = ""
    revision: str = ""
    cluster: str = ""
    app: str = ""
    version: str = ""
    instance: str = ""
    kind: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, Any], more_labels: Collection[str] = ()) -> Workload:
        """Of a node's metadata, or of what a peer has sent of it. more_labels: names of further labels to keep."""
        labels = metadata.get("LABELS")
        labels = labels if isinstance(labels, Mapping) else {}
        workload = _text(metadata, "WORKLOAD_NAME")
        return cls(
            workload=workload,
            namespace=_text(metadata, "NAMESPACE"),
            service=_text(labels, _SERVICE),
            revision=_text(labels, _REVISION),
            cluster=_text(metadata, "CLUSTER_ID"),
            app=_first(labels, _APPS),
            version=_first(labels, _VERSIONS),
            instance=_text(metadata, "NAME"),
            kind=_kind_of(_text(metadata, "OWNER"), workload),
            labels=tuple(sorted((name, _text(labels, name)) for name in more_labels if name in labels)),
        )

    @classmethod
    def of_baggage(cls, baggage: str) -> Workload:
        found: dict[str, str] = {}
        for part in baggage.split(","):
            name, _, value = part.strip().partition("=")
            kind = name.removeprefix("k8s.").removesuffix(".name")
            if kind in _KINDS:
                found |= {"kind": kind, "workload": value}
                if kind in ("pod", "job"):
                    found["instance"] = value
            elif name in _BAGGAGE:
                found[_BAGGAGE[name]] = value
        found.setdefault("app", found.get("service", ""))
        found.setdefault("version", found.get("revision", ""))
        return cls().with_fields(found)

    @classmethod
    def of_endpoint(cls, text: str) -> Workload | None:
        """None for what has too few parts."""
        parts = text.split(";")
        names = ("workload", "namespace", "service", "revision", "cluster")
        return cls().with_fields(dict(zip(names, parts, strict=False))) if len(parts) >= len(names) else None

    def with_fields(self, fields: Mapping[str, str]) -> Workload:
        return replace(self, **cast("Any", fields))

    def metadata(self) -> dict[str, Any]:
        """As a part of a node's metadata."""
        named = {
            "NAME": self.instance,
            "NAMESPACE": self.namespace,
            "WORKLOAD_NAME": self.workload,
            "CLUSTER_ID": self.cluster,
            "OWNER": f"{_OWNER}{self.namespace}/{self.kind}s/{self.workload}" if self.kind else "",
        }
        labels = {_SERVICE: self.service, _REVISION: self.revision, "app": self.app, "version": self.version}
        labels |= dict(self.labels)
        return _known(named) | {"LABELS": _known(labels)}

    def baggage(self) -> str:
        """As the value of a header `baggage`. What is said once isn't said again: of the app only what differs."""
        service, revision = self.service or self.app, self.revision or self.version
        parts = {
            f"k8s.{self.kind or 'pod'}.name": self.workload,
            "service.name": service,
            "app.name": self.app if self.app != service else "",
            "service.version": revision,
            "app.version": self.version if self.version != revision else "",
            "k8s.namespace.name": self.namespace,
            "k8s.cluster.name": self.cluster,
            "k8s.instance.name": self.instance,
        }
        return ",".join(f"{name}={value}" for name, value in _known(parts).items())


class Peer(dict[str, Any]):
    """A workload as an object of the filter state: its fields by their short names; `workload` is the whole."""

    __slots__ = ("known",)

    def __init__(self, workload: Workload) -> None:
        fields = asdict(workload)
        labels = dict(fields.pop("labels"))
        super().__init__({_STATE.get(name, name): value for name, value in fields.items() if value})
        if labels:
            self["labels"] = labels
        self.known = workload

    def under(self, key: str) -> dict[str, object]:
        """The entries of the filter state that say so."""
        return {key: self, f"{key}{_OBJECT}": self}


def peer_in(state: Mapping[str, object] | None, key: str) -> Workload | None:
    """The workload that the filter state names, None if it names none."""
    found = state.get(key) if state else None
    return found.known if isinstance(found, Peer) else None


def to_struct(values: Mapping[str, Any]) -> bytes:
    """A serialized `google.protobuf.Struct`, always the same bytes for the same values."""
    struct = Struct()
    struct.update(values)
    return struct.SerializeToString(deterministic=True)


def from_struct(data: bytes) -> dict[str, Any] | None:
    """What a serialized `Struct` holds; None if it is none."""
    from google.protobuf.json_format import MessageToDict  # which few need, and no program at its start

    try:
        found: dict[str, Any] = MessageToDict(Struct.FromString(data))
    except (DecodeError, ValueError, RecursionError):
        return None
    return found


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _first(values: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return next((found for key in keys if (found := _text(values, key))), "")


def _known(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _kind_of(owner: str, workload: str) -> str:
    """`kubernetes://apis/apps/v1/namespaces/<namespace>/<kind>s/<workload>`"""
    kind = owner[: -len(workload) - 2].rpartition("/")[2] if len(owner) > len(workload) + 2 else ""
    return kind if kind in _KINDS else ""
