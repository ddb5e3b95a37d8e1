"""The secrets that the agent knows, by name, each with a version that tells one state of it from another.

    default               the workload's key and chain
    ROOTCA                what its peers are verified against: the root, and those that the control plane adds
    file-cert:CHAIN~KEY   two files of the pod, as DestinationRule and Gateway name them
    file-root:ROOTS       one file

A file that can't be read is no secret yet. Files are looked at again as long as somebody has asked for one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meshproxy.agent.identity.certificates import Certificates
from meshproxy.agent.identity.credentials import Credentials
from meshproxy.records import dataclass

TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_CERTIFICATE, _ROOT = "file-cert:", "file-root:"
_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Versioned:
    """One state of a secret: the serialized `Secret` in its Any."""

    version: str
    resource: Any


class Secrets:
    """Finds secrets; calls every listener of `on_change` when one may have changed."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._version = 0
        self._more_roots = b""
        self._files: dict[str, Versioned | None] = {}
        self._watching: asyncio.Task[None] | None = None
        self.on_change: list[Callable[[], None]] = []
        certificates.on_change.append(self._renewed)

    async def there(self) -> None:
        """Wait until the workload has a certificate."""
        await self._certificates.there.wait()

    def trust(self, roots: bytes) -> None:
        """Trust these as well (PEM)."""
        if roots != self._more_roots:
            self._more_roots = roots
            self._changed()

    def _renewed(self, _: Credentials) -> None:
        self._changed()

    def _changed(self) -> None:
        self._version += 1
        for listener in self.on_change:
            listener()

    def find(self, name: str) -> Versioned | None:
        """None for what isn't there, or not yet."""
        if name.startswith((_CERTIFICATE, _ROOT)):
            if name not in self._files:
                self._files[name] = _read_files(name)
            if self._watching is None:
                self._watching = asyncio.ensure_future(self._watch())
            return self._files[name]
        current = self._certificates.current
        if current is None:
            return None
        if name == "default":
            return Versioned(str(self._version), _certificate(name, current.chain, current.key))
        if name == "ROOTCA":
            return Versioned(str(self._version), _roots(name, current.root + self._more_roots))
        return None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            changed = False
            for name, known in list(self._files.items()):
                found = _read_files(name)
                if found is not None and (known is None or found.version != known.version):
                    self._files[name] = found
                    changed = True
            if changed:
                for listener in self.on_change:
                    listener()

    def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()


def _read_files(name: str) -> Versioned | None:
    try:
        if name.startswith(_ROOT):
            roots = Path(name.removeprefix(_ROOT)).read_bytes()
            return Versioned(hashlib.sha256(roots).hexdigest(), _roots(name, roots))
        chain, separator, key = name.removeprefix(_CERTIFICATE).partition("~")
        if not separator or "~" in key:
            return None
        parts = Path(chain).read_bytes(), Path(key).read_bytes()
    except OSError:
        return None
    return Versioned(hashlib.sha256(b"\0".join(parts)).hexdigest(), _certificate(name, *parts))


def _certificate(name: str, chain: bytes, key: bytes) -> Any:
    secret = _secret(name)
    secret.tls_certificate.certificate_chain.inline_bytes = chain
    secret.tls_certificate.private_key.inline_bytes = key
    return _packed(secret)


def _roots(name: str, roots: bytes) -> Any:
    secret = _secret(name)
    secret.validation_context.trusted_ca.inline_bytes = roots
    return _packed(secret)


def _secret(name: str) -> Any:
    from envoy.extensions.transport_sockets.tls.v3 import secret_pb2  # loaded when somebody asks

    return secret_pb2.Secret(name=name)


def _packed(secret: Any) -> Any:
    from google.protobuf import any_pb2

    return any_pb2.Any(type_url=TYPE, value=secret.SerializeToString())
