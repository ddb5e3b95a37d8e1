"""Cipher suites, groups and versions: Envoy's names and defaults (BoringSSL's) to those of OpenSSL."""

from __future__ import annotations

from typing import Final

from meshproxy.model.tls import TlsParameters
from meshproxy.plugin.view import ConfigView

DEFAULT_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""Envoy's for TLS 1.2, best first, AES128 and CHACHA20 being equals. TLS 1.3's can't be chosen, there as here."""

# What BoringSSL knows for TLS 1.2, by its names and by those of the RFCs.
_KNOWN: Final = {
    **{name: name for name in DEFAULT_CIPHERS},
    "ECDHE-ECDSA-CHACHA20-POLY1305-SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305-SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    **{
        name: name
        for name in (
            "ECDHE-ECDSA-AES128-SHA",
            "ECDHE-ECDSA-AES256-SHA",
            "ECDHE-RSA-AES128-SHA",
            "ECDHE-RSA-AES256-SHA",
            "ECDHE-RSA-AES128-SHA256",
            "AES128-GCM-SHA256",
            "AES256-GCM-SHA384",
            "AES128-SHA",
            "AES256-SHA",
        )
    },
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
}
_GROUPS: Final = {"X25519": "X25519", "P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}
_FAMILIES: Final = {"TLS_AUTO": "", "TLSv1_2": "TLSv1_2", "TLSv1_3": "TLSv1_3"}


def compile_parameters(view: ConfigView | None, *, default_maximum: str) -> TlsParameters:
    """`TlsParameters`; what is unset is as in Envoy. Raises ConfigError for what OpenSSL can't do as asked."""
    if view is None:
        return TlsParameters("TLSv1_2", default_maximum, DEFAULT_CIPHERS)
    problems = view.unsupported("signature_algorithms", "compliance_policies")
    if problems:
        view.fail(problems[0].message, "signature_algorithms")
    minimum = _version(view, "tls_minimum_protocol_version") or "TLSv1_2"
    maximum = _version(view, "tls_maximum_protocol_version") or max(default_maximum, minimum)
    if minimum > maximum:
        view.fail("the maximum TLS version is below the minimum", "tls_maximum_protocol_version")
    ciphers = _ciphers(view)
    equals = [entry for entry in view.texts("cipher_suites") if entry.startswith("[")]
    chacha = not view.has("cipher_suites") or any("CHACHA20" in entry for entry in equals)
    return TlsParameters(minimum, maximum, ciphers, _groups(view), prioritize_chacha=chacha)


def _version(view: ConfigView, field: str) -> str:
    name = view.enum(field)
    if name not in _FAMILIES:
        view.fail(f"{name} isn't supported by meshproxy: TLSv1_2 and TLSv1_3 are", field)
    return _FAMILIES[name]


def _ciphers(view: ConfigView) -> tuple[str, ...]:
    """BoringSSL's list: names, each perhaps a group of equals such as `[A|B]`."""
    names: list[str] = []
    for entry in view.texts("cipher_suites"):
        group = entry[1:-1].split("|") if entry.startswith("[") and entry.endswith("]") else [entry]
        for name in group:
            known = _KNOWN.get(name)
            if known is None:
                view.fail(
                    f"Failed to initialize cipher suites: '{name}' isn't one that meshproxy knows", "cipher_suites"
                )
            names.append(known)
    return tuple(dict.fromkeys(names)) or DEFAULT_CIPHERS


def _groups(view: ConfigView) -> tuple[str, ...]:
    names = []
    for name in view.texts("ecdh_curves"):
        if name not in _GROUPS:
            view.fail(f"Failed to initialize ECDH curves: '{name}' isn't one that meshproxy knows", "ecdh_curves")
        names.append(_GROUPS[name])
    if len(names) > 1:
        view.fail("only a single curve can be set by meshproxy; without any, X25519 is preferred", "ecdh_curves")
    return tuple(names)
