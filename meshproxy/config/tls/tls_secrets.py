"""Certificates, validation contexts, and secrets of these and others (envoy.extensions.transport_sockets.tls.v3).

A secret is named in one of three ways: in the context itself, by the name of a static one (`static_resources.secrets`),
or by the name of a resource in a file that is watched (`sds_config.path_config_source`).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from meshproxy.config.matching.matchers import compile_string_matcher
from meshproxy.config.text.bootstrap_load import load_message, read_source
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.discovery import compile_config_source
from meshproxy.errors import ConfigError, Problem
from meshproxy.model.tls import (
    CertificateValidation,
    DataSource,
    GenericSecret,
    SanMatcher,
    SecretReference,
    TicketKeys,
    TlsCertificate,
    TrustDomain,
)
from meshproxy.plugin.view import ConfigView

Secret = TlsCertificate | CertificateValidation | TicketKeys | GenericSecret
S = TypeVar("S", TlsCertificate, CertificateValidation, TicketKeys, GenericSecret)
_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
_SPIFFE = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
_DISCOVERY_RESPONSE = "envoy.service.discovery.v3.DiscoveryResponse"
_UNTYPED_SANS = ("URI", "DNS", "IP_ADDRESS", "EMAIL")
_OID = re.compile(r"[012](\.[0-9]{1,20})+")


def compile_data_source(view: ConfigView | None, environ: Mapping[str, str]) -> DataSource | None:
    """`core.v3.DataSource`; a file isn't read yet. Raises ConfigError."""
    if view is None:
        return None
    watched = view.view("watched_directory")
    if watched is not None:
        watched.text("path")  # every file is watched, so a directory to watch adds nothing
    kind = view.which("specifier")
    if kind == "filename":
        return DataSource(filename=view.text("filename"))
    if kind == "inline_bytes":
        return DataSource(data=view.data("inline_bytes"))
    if kind == "environment_variable":
        name = view.text("environment_variable")
        if name not in environ:
            view.fail(f"environment variable '{name}' isn't set", "environment_variable")
        return DataSource(data=os.fsencode(environ[name]))
    return DataSource(data=view.text("inline_string").encode())


def compile_certificate(view: ConfigView, environ: Mapping[str, str]) -> TlsCertificate:
    """`TlsCertificate`. Raises ConfigError."""
    for problem in view.unsupported("private_key_provider", "signed_certificate_timestamp"):
        raise ConfigError(problem)
    watched = view.view("watched_directory")
    if watched is not None:
        watched.text("path")  # as above
    certificate = TlsCertificate(
        chain=compile_data_source(view.view("certificate_chain"), environ),
        key=compile_data_source(view.view("private_key"), environ),
        password=compile_data_source(view.view("password"), environ),
        pkcs12=compile_data_source(view.view("pkcs12"), environ),
        staple=_staple(view.view("ocsp_staple"), environ),
    )
    if certificate.pkcs12 is not None:
        if certificate.chain is not None or certificate.key is not None:
            view.fail("Certificate configuration can't have both pkcs12 and a certificate chain or private key")
    elif certificate.chain is None:
        view.fail("No certificate chain is given", "certificate_chain")
    elif certificate.key is None:
        view.fail("No private key is given: a private_key_provider isn't supported by meshproxy", "private_key")
    return certificate


def _staple(view: ConfigView | None, environ: Mapping[str, str]) -> DataSource | None:
    if view is not None and view.which("specifier") == "inline_string":
        view.fail("OCSP staple cannot be provided via inline_string", "inline_string")
    return compile_data_source(view, environ)


def compile_ticket_keys(view: ConfigView, environ: Mapping[str, str]) -> TicketKeys:
    """`TlsSessionTicketKeys`. Raises ConfigError."""
    return TicketKeys(tuple(compile_data_source(key, environ) or DataSource() for key in view.views("keys")))


def compile_validation(view: ConfigView, environ: Mapping[str, str], *, whole: bool = True) -> CertificateValidation:
    """`CertificateValidationContext`. whole: no secret is merged over it. Raises ConfigError."""
    for problem in view.unsupported("ca_certificate_provider_instance"):
        raise ConfigError(problem)
    if view.boolean("require_signed_certificate_timestamp"):
        view.fail("signed timestamps aren't verified by meshproxy", "require_signed_certificate_timestamp")
    watched = view.view("watched_directory")
    if watched is not None:
        watched.text("path")  # as above
    domains, bundles = _spiffe(view.view("custom_validator_config"), environ)
    spiffe = bool(domains or bundles)
    trusted_ca = compile_data_source(view.view("trusted_ca"), environ)
    system_roots = view.has("system_root_certs")
    crl = compile_data_source(view.view("crl"), environ)
    untrusted = view.enum("trust_chain_verification") == "ACCEPT_UNTRUSTED"
    if whole and crl is not None and trusted_ca is None and not system_roots and not spiffe:
        view.fail(f"Failed to load CRL from {crl.label} without trusted CA", "crl")
    if spiffe and trusted_ca is not None:
        view.fail("SPIFFE's validator takes its authorities from trust_domains, not from trusted_ca", "trusted_ca")
    return CertificateValidation(
        trusted_ca=trusted_ca,
        system_roots=system_roots,
        crl=crl,
        only_leaf_crl=view.boolean("only_verify_leaf_cert_crl"),
        sans=_sans(view),
        hashes=frozenset(_hash(view, text) for text in view.texts("verify_certificate_hash")),
        spkis=frozenset(_spki(view, text) for text in view.texts("verify_certificate_spki")),
        allow_expired=view.boolean("allow_expired_certificate"),
        accept_untrusted=untrusted,
        max_depth=view.integer("max_verify_depth") if view.has("max_verify_depth") else None,
        trust_domains=domains,
        trust_bundles=bundles,
        digest=view.peek().SerializeToString(deterministic=True),
    )


def _sans(view: ConfigView) -> tuple[SanMatcher, ...]:
    matchers: list[SanMatcher] = []
    for entry in view.views("match_typed_subject_alt_names"):
        kind = entry.enum("san_type")
        oid = entry.text("oid")  # says something of OTHER_NAME alone
        if kind == "OTHER_NAME" and not _OID.fullmatch(oid):
            entry.fail("Failed to parse the OID of names of the kind OTHER_NAME", "oid")
        matchers.append(_san(kind, entry.required("matcher"), oid))
    for matcher in view.views("match_subject_alt_names"):  # the older form, of no kind in particular
        matchers += [_san(kind, matcher) for kind in _UNTYPED_SANS]
    return tuple(matchers)


def _san(kind: str, matcher: ConfigView, oid: str = "") -> SanMatcher:
    matches = compile_string_matcher(matcher)
    exact = matcher.text("exact") if kind == "DNS" and matcher.which("match_pattern") == "exact" else ""
    return SanMatcher(kind, matches, exact, oid)


def _hash(view: ConfigView, text: str) -> bytes:
    """SHA-256 in hex, with or without colons."""
    try:
        digest = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        digest = b""
    if len(digest) != 32:
        view.fail(f"Invalid hex-encoded SHA-256 '{text}'", "verify_certificate_hash")
    return digest


def _spki(view: ConfigView, text: str) -> bytes:
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != 32:
        view.fail(f"Invalid base64-encoded SHA-256 '{text}'", "verify_certificate_spki")
    return digest


def _spiffe(view: ConfigView | None, environ: Mapping[str, str]) -> tuple[tuple[TrustDomain, ...], DataSource | None]:
    """The SPIFFE validator's domains and bundles; nothing without it. Raises ConfigError for any other validator."""
    if view is None:
        return (), None
    typed = view.any("typed_config")
    if typed is None or typed.full_name != _SPIFFE or typed.view is None:
        view.fail("the only validator of certificates that meshproxy has beside its own is SPIFFE's")
    config = typed.view
    domains: dict[str, TrustDomain] = {}
    for entry in config.views("trust_domains"):
        name = entry.text("name")
        if name in domains:
            entry.fail(f"Multiple trust bundles are given for one trust domain for {name}", "name")
        bundle = compile_data_source(entry.view("trust_bundle"), environ)
        if bundle is None:
            entry.fail(f"trust domain '{name}' has no trust_bundle")
        domains[name] = TrustDomain(name, bundle)
    bundles = compile_data_source(config.view("trust_bundles"), environ)
    if not domains and bundles is None:
        view.fail("SPIFFE's validator has neither trust_domains nor trust_bundles: it would let nobody in")
    return tuple(domains.values()), bundles


def compile_secret(view: ConfigView, environ: Mapping[str, str]) -> tuple[str, Secret]:
    """`Secret`: its name and what it holds. Raises ConfigError."""
    kind = view.which("type")
    name = view.text("name")
    if kind == "tls_certificate":
        return name, replace(compile_certificate(view.required(kind), environ), name=name)
    if kind == "validation_context":
        return name, replace(compile_validation(view.required(kind), environ), name=name)
    if kind == "session_ticket_keys":
        return name, compile_ticket_keys(view.required(kind), environ)
    if kind == "generic_secret":
        return name, _compile_generic(view.required(kind), environ)
    view.fail(f"secrets of the kind {kind or 'none'} aren't supported by meshproxy")


def _compile_generic(view: ConfigView, environ: Mapping[str, str]) -> GenericSecret:
    return GenericSecret(compile_data_source(view.view("secret"), environ) or DataSource())


def compile_static_secrets(views: Sequence[ConfigView], context: CompileContext) -> dict[str, Secret]:
    """`static_resources.secrets` by name. Problems are noted in the context."""
    secrets: dict[str, Secret] = {}
    for view in views:
        with view.collect(context.problems):
            name, secret = compile_secret(view, context.environ)
            if name in secrets:
                view.fail(f"Duplicate static secret '{name}'", "name")
            secrets[name] = secret
    return secrets


def compile_reference(view: ConfigView, context: CompileContext, kind: type[S]) -> S | SecretReference:
    """`SdsSecretConfig`: a static secret, or a reference to one that comes by discovery. Raises ConfigError.

    kind: what the secret must be. A file has to exist, as in Envoy; the secret itself may come later.
    """
    name = view.text("name")
    source = view.view("sds_config")
    if source is None:
        secret = context.secrets.get(name)
        if not isinstance(secret, kind):
            view.fail(f"Unknown static {_KIND_NAMES[kind]}: {name}", "name")
        return secret
    return SecretReference(name, compile_config_source(source, context))


_KIND_NAMES: dict[type, str] = {
    TlsCertificate: "secret",
    CertificateValidation: "certificate validation context",
    TicketKeys: "tls session ticket keys",
    GenericSecret: "generic secret",
}


def load_secrets(path: str, environ: Mapping[str, str]) -> dict[str, Secret]:
    """The secrets in a file: a DiscoveryResponse in YAML or JSON. Raises ConfigError."""
    loaded = load_message(_DISCOVERY_RESPONSE, [read_source(path)])
    for field in ("version_info", "type_url", "nonce"):
        loaded.view.text(field)
    secrets = dict(compile_secret(entry.message(_SECRET), environ) for entry in loaded.view.anys("resources"))
    problems = loaded.view.unread_problems()
    if problems:
        raise ConfigError(problems)
    if not secrets:
        raise ConfigError(Problem("resources", "there is no secret in it", path))
    return secrets
