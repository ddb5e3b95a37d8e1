"""SPIFFE bundle maps: the authorities of several trust domains in one JSON document (SPIFFE Trust Domain and Bundle,
section 4, one such bundle per domain under "trust_domains").

Read as Envoy reads them: each key must be for X.509 SVIDs and have certificates; what else a bundle says (its sequence
number, when to look again) is left to whoever writes it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from meshproxy.runtime.tls.facts import CertificateFacts, facts_of
from meshproxy.runtime.tls.failures import MaterialError


def parse_bundle_map(data: bytes, label: str) -> dict[str, list[CertificateFacts]]:
    """The authorities by trust domain. label: where the document is from, for messages. Raises MaterialError."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise MaterialError(f"Invalid JSON found in SPIFFE bundle {label}") from None
    domains = document.get("trust_domains") if isinstance(document, dict) else None
    if not isinstance(domains, dict) or not domains:
        raise MaterialError(f"No trust domains found in SPIFFE bundle {label}")
    return {name: list(_authorities(name, bundle)) for name, bundle in domains.items()}


def _authorities(name: str, bundle: Any) -> Iterator[CertificateFacts]:
    keys = bundle.get("keys") if isinstance(bundle, dict) else None
    if not isinstance(keys, list) or not keys:
        raise MaterialError(f"No keys found in SPIFFE bundle for domain '{name}'")
    for key in keys:
        if not isinstance(key, dict) or key.get("use") != "x509-svid":
            raise MaterialError(f"missing or invalid 'use' field found in cert for domain '{name}'")
        encoded = key.get("x5c")
        if not isinstance(encoded, list) or not encoded:
            raise MaterialError(f"missing or empty 'x5c' field found in keys for domain: '{name}'")
        for text in encoded:
            yield _certificate(name, text)


def _certificate(name: str, text: Any) -> CertificateFacts:
    try:
        return facts_of(base64.b64decode(text, validate=True))
    except (TypeError, ValueError, binascii.Error):
        raise MaterialError(f"Invalid x509 object in certs for domain '{name}'") from None
