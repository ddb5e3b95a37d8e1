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
            "ECDHE-ECDSA-AES128-SHA256",
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
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
}
# Suites that need a key which nobody has agreed on beforehand: known, and of no use here as in Envoy.
_PRE_SHARED: Final = frozenset(
    {
        "ECDHE-PSK-AES128-CBC-SHA",
        "ECDHE-PSK-AES256-CBC-SHA",
        "ECDHE-PSK-CHACHA20-POLY1305",
        "PSK-AES128-CBC-SHA",
        "PSK-AES256-CBC-SHA",
    }
)
_GROUPS: Final = {
    "X25519": "X25519",
    "X25519MLKEM768": "X25519MLKEM768",
    **dict.fromkeys(("P-256", "prime256v1", "secp256r1"), "prime256v1"),
    **dict.fromkeys(("P-384", "secp384r1"), "secp384r1"),
    **dict.fromkeys(("P-521", "secp521r1"), "secp521r1"),
}
_SIGNATURES: Final = frozenset(
    {
        "ecdsa_secp256r1_sha256",
        "ecdsa_secp384r1_sha384",
        "ecdsa_secp521r1_sha512",
        "ecdsa_sha1",
        "ed25519",
        *(f"rsa_pkcs1_{digest}" for digest in ("sha1", "sha256", "sha384", "sha512")),
        *(f"rsa_pss_rsae_{digest}" for digest in ("sha256", "sha384", "sha512")),
        *(f"{kind}+{digest}" for kind in ("RSA", "ECDSA") for digest in ("SHA1", "SHA256", "SHA384", "SHA512")),
        *(f"{kind}+{digest}" for kind in ("RSA-PSS", "PSS") for digest in ("SHA256", "SHA384", "SHA512")),
    }
)
_OLD_SIGNATURES: Final = {"ecdsa_sha1": "ECDSA+SHA1", "rsa_pkcs1_sha1": "RSA+SHA1"}
_FAMILIES: Final = {"TLS_AUTO": "", **{name: name for name in ("TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3")}}


def compile_parameters(view: ConfigView | None, *, default_maximum: str) -> TlsParameters:
    """`TlsParameters`; what is unset is as in Envoy. Raises ConfigError for what OpenSSL can't do as asked."""
    if view is None:
        return TlsParameters("TLSv1_2", default_maximum, DEFAULT_CIPHERS)
    for problem in view.unsupported("compliance_policies"):
        view.fail(problem.message, "compliance_policies")
    minimum = _FAMILIES[view.enum("tls_minimum_protocol_version")] or "TLSv1_2"
    maximum = _FAMILIES[view.enum("tls_maximum_protocol_version")] or max(default_maximum, minimum)
    if minimum > maximum:
        view.fail("the maximum TLS version is below the minimum", "tls_maximum_protocol_version")
    ciphers = _ciphers(view)
    equals = [entry for entry in view.texts("cipher_suites") if entry.startswith("[")]
    chacha = not view.has("cipher_suites") or any("CHACHA20" in entry for entry in equals)
    return TlsParameters(
        minimum,
        maximum,
        ciphers,
        groups=_groups(view),
        signature_algorithms=_signatures(view),
        prioritize_chacha=chacha,
    )


def _ciphers(view: ConfigView) -> tuple[str, ...]:
    """BoringSSL's list: names, each perhaps a group of equals such as `[A|B]`."""
    names: list[str] = []
    for entry in view.texts("cipher_suites"):
        group = entry[1:-1].split("|") if entry.startswith("[") and entry.endswith("]") else [entry]
        for name in group:
            if name in _PRE_SHARED:
                continue
            known = _KNOWN.get(name)
            if known is None:
                view.fail(
                    f"Failed to initialize cipher suites: '{name}' isn't one that meshproxy knows", "cipher_suites"
                )
            names.append(known)
    if view.has("cipher_suites") and not names:
        view.fail("none of these suites can be used by meshproxy", "cipher_suites")
    return tuple(dict.fromkeys(names)) or DEFAULT_CIPHERS


def _groups(view: ConfigView) -> tuple[str, ...]:
    """Envoy joins the entries with colons, so one may hold several."""
    names: list[str] = []
    for name in filter(None, ":".join(view.texts("ecdh_curves")).split(":")):
        known = _GROUPS.get(name)
        if known is None or known in names:
            view.fail(f"Failed to initialize ECDH curves {name}", "ecdh_curves")
        names.append(known)
    return tuple(names)


def _signatures(view: ConfigView) -> tuple[str, ...]:
    names = list(filter(None, ":".join(view.texts("signature_algorithms")).split(":")))
    for name in names:
        if name not in _SIGNATURES:
            view.fail(f"Failed to initialize TLS signature algorithms {name}", "signature_algorithms")
    return tuple(_OLD_SIGNATURES.get(name, name) for name in names)
