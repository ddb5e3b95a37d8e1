"""`TlsParameters` given to a context: versions, suites, groups and signatures; Envoy's where none are configured."""

from __future__ import annotations

import ssl
import warnings

from meshproxy.model.tls import TlsParameters
from meshproxy.runtime.tls import openssl
from meshproxy.runtime.tls.failures import MaterialError

_VERSIONS = {
    "TLSv1_0": ssl.TLSVersion.TLSv1,
    "TLSv1_1": ssl.TLSVersion.TLSv1_1,
    "TLSv1_2": ssl.TLSVersion.TLSv1_2,
    "TLSv1_3": ssl.TLSVersion.TLSv1_3,
}
_GROUPS = ("X25519", "prime256v1")
"""Envoy's, as are the signatures, where none are configured."""
_SIGNATURES = (
    "ecdsa_secp256r1_sha256",
    "rsa_pss_rsae_sha256",
    "rsa_pkcs1_sha256",
    "ecdsa_secp384r1_sha384",
    "rsa_pss_rsae_sha384",
    "rsa_pkcs1_sha384",
    "ecdsa_secp521r1_sha512",
    "rsa_pss_rsae_sha512",
    "rsa_pkcs1_sha512",
)
_OLD_SIGNATURES = ("ECDSA+SHA1", "RSA+SHA1")
_CERTIFICATE_CURVES = ("secp384r1", "secp521r1")
"""To OpenSSL a client's certificate must be on one of the groups, up to TLS 1.2; to Envoy's BoringSSL it needn't."""


def apply_parameters(context: ssl.SSLContext, parameters: TlsParameters, *, wide: bool) -> None:
    """wide: let clients' certificates be on any curve of ours, where no groups are configured.

    Raises MaterialError for what OpenSSL, or this Python's `ssl`, can't do.
    """
    old = parameters.minimum < "TLSv1_2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # who configures TLS 1.0 or 1.1 knows of it
        try:
            context.minimum_version = _VERSIONS[parameters.minimum]
            context.maximum_version = _VERSIONS[parameters.maximum]
        except ValueError as error:
            raise MaterialError(f"Failed to set the TLS versions: {error}") from None
    # The signatures of TLS 1.0 and 1.1 are beneath every level of security but the lowest.
    context.set_ciphers(":".join(parameters.ciphers) + (":@SECLEVEL=0" if old else ""))
    if openssl.library() is None:
        _apply_single_group(context, parameters)
        return
    if not openssl.set_groups(context, parameters.groups or _default_groups(parameters, wide=wide)):
        raise MaterialError(f"Failed to initialize ECDH curves {':'.join(parameters.groups)}")
    signatures = parameters.signature_algorithms or (_SIGNATURES + _OLD_SIGNATURES if old else _SIGNATURES)
    if not openssl.set_signature_algorithms(context, signatures):
        raise MaterialError(f"Failed to initialize TLS signature algorithms {':'.join(signatures)}")


def _default_groups(parameters: TlsParameters, *, wide: bool) -> tuple[str, ...]:
    groups = _GROUPS + _CERTIFICATE_CURVES if wide and parameters.minimum < "TLSv1_3" else _GROUPS
    return (openssl.POST_QUANTUM_GROUP, *groups) if openssl.knows_post_quantum_group() else groups


def _apply_single_group(context: ssl.SSLContext, parameters: TlsParameters) -> None:
    """What `ssl` alone can do."""
    if parameters.signature_algorithms or len(parameters.groups) > 1:
        raise MaterialError("this Python's ssl can't set signature algorithms or more than one ECDH curve")
    for group in parameters.groups:
        try:
            context.set_ecdh_curve(group)
        except (ssl.SSLError, ValueError):
            raise MaterialError(f"Failed to initialize ECDH curves {group}") from None
