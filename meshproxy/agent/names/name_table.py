"""The names of the mesh and their addresses, as a control plane hands them over (Istio's `NameTable`).

A name of Kubernetes is also known by its short forms, and every form also with each search domain of the pod behind it,
because that is how resolvers ask: `reviews.default.svc.cluster.local.default.svc.cluster.local.` is answered with a
CNAME and the address, instead of being sent to a name server that knows nothing of it. A leading `*.` matches any
number of labels; the longest such name wins.

Invariant: keys are in lower case and without the last dot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshproxy.address import canonical_ip
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a name stands for. alias: the name that it is an alias of, "" for a name of its own."""

    v4: tuple[str, ...] = ()
    v6: tuple[str, ...] = ()
    alias: str = ""


class NameTable:
    """Look-up of names; immutable once made."""

    def __init__(
        self,
        entries: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        namespace: str = "",
        domain: str = "",
        search: Sequence[str] = (),
    ) -> None:
        """entries: host -> {ips, registry, shortname, namespace}. Raises ValueError for what is no such table.

        namespace, domain: the proxy's own (`default`, `default.svc.cluster.local`). search: the pod's search domains.
        """
        self.entries = entries or {}
        self._names: dict[str, Addresses] = {}
        cluster_domain = domain.partition(".")[2]
        for host, info in self.entries.items():
            v4, v6 = _split(host, info)
            for name in _names_of(host.lower().rstrip("."), info, namespace, cluster_domain):
                self._names[name] = Addresses(v4, v6)
        for name in list(self._names):
            found = self._names[name]
            for suffix in search:
                self._names.setdefault(f"{name}.{suffix}", Addresses(found.v4, found.v6, name))

    def __len__(self) -> int:
        return len(self._names)

    def find(self, name: str) -> Addresses | None:
        """The addresses of a name, or None for one that isn't of the mesh."""
        name = name.lower().rstrip(".")
        found = self._names.get(name)
        if found is not None:
            return found
        rest = name
        while "." in rest:
            rest = rest.partition(".")[2]
            found = self._names.get(f"*.{rest}")
            if found is not None:
                # What a wildcard is an alias of isn't a name that could be asked for.
                return Addresses(found.v4, found.v6) if found.alias else found
        return None


def _split(host: str, info: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        ips = [canonical_ip(str(ip)) for ip in info.get("ips") or ()]
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"the name table's entry for {host!r}: {error}") from None
    return tuple(ip for ip in ips if ":" not in ip), tuple(ip for ip in ips if ":" in ip)


def _names_of(host: str, info: Mapping[str, Any], namespace: str, cluster_domain: str) -> Iterable[str]:
    yield host
    short, its_namespace = str(info.get("shortname") or "").lower(), str(info.get("namespace") or "").lower()
    if info.get("registry") != "Kubernetes" or not short or not its_namespace:
        return
    if cluster_domain and not host.endswith(f".{cluster_domain}"):
        return  # of another cluster domain: its short names are not ours
    if its_namespace == namespace:
        yield short
    yield f"{short}.{its_namespace}"
    yield f"{short}.{its_namespace}.svc"
