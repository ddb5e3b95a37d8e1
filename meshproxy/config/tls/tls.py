"""The TLS transport sockets (DownstreamTlsContext, UpstreamTlsContext) to their model.

Pure: whether certificate and key fit is for the runtime to say, which loads them (`meshproxy.runtime.tls`).
"""

from __future__ import annotations

from meshproxy.address import CidrSet
from meshproxy.config.tls.tls_ciphers import compile_parameters
from meshproxy.config.tls.tls_secrets import (
    compile_certificate,
    compile_reference,
    compile_ticket_keys,
    compile_validation,
)
from meshproxy.config.values.addresses import compile_ranges
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError
from meshproxy.messages.by_name import message_class
from meshproxy.model.cluster import AutoSni
from meshproxy.model.tls import (
    CertificateValidation,
    CommonTls,
    DownstreamTls,
    KeyLog,
    SecretReference,
    TicketKeys,
    TlsCertificate,
    UpstreamTls,
)
from meshproxy.plugin.view import ConfigView

_PREFIX = "envoy.extensions.transport_sockets.tls.v3."
DOWNSTREAM_TLS = _PREFIX + "DownstreamTlsContext"
UPSTREAM_TLS = _PREFIX + "UpstreamTlsContext"
START_TLS = (
    "envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig",
    "envoy.extensions.transport_sockets.starttls.v3.UpstreamStartTlsConfig",
)
_SESSION_LIFETIME = 7200  # seconds; Envoy's default, also what it makes of 0
_COMMON_REFUSED = (
    "tls_certificate_provider_instance",
    "custom_tls_certificate_selector",
    "tls_certificate_certificate_provider",
    "tls_certificate_certificate_provider_instance",
    "validation_context_certificate_provider",
    "validation_context_certificate_provider_instance",
    "custom_handshaker",
)


def compile_downstream_tls(view: ConfigView, context: CompileContext) -> DownstreamTls:
    """`DownstreamTlsContext`. Raises ConfigError."""
    common = _compile_common(view.required("common_tls_context"), context, "TLSv1_3")
    if not common.certificates:
        view.fail("No TLS certificates found for server context", "common_tls_context")
    return DownstreamTls(
        common=common,
        require_client_certificate=view.boolean("require_client_certificate"),
        require_sni=view.boolean("require_sni"),
        tickets=not view.boolean("disable_stateless_session_resumption"),
        ticket_keys=_compile_ticket_keys(view, context),
        staple_policy=view.enum("ocsp_staple_policy"),
        stateful=not view.boolean("disable_stateful_session_resumption"),
        session_timeout=int(view.seconds("session_timeout", 0.0)) or _SESSION_LIFETIME,
        full_scan_certs_on_sni_mismatch=view.boolean("full_scan_certs_on_sni_mismatch"),
        prefer_client_ciphers=view.boolean("prefer_client_ciphers"),
    )


def _compile_ticket_keys(view: ConfigView, context: CompileContext) -> TicketKeys | SecretReference | None:
    kind = view.which("session_ticket_keys_type")
    if kind == "session_ticket_keys":
        return compile_ticket_keys(view.required(kind), context.environ)
    if kind == "session_ticket_keys_sds_secret_config":
        return compile_reference(view.required(kind), context, TicketKeys)
    return None


def compile_upstream_tls(view: ConfigView, context: CompileContext) -> UpstreamTls:
    """`UpstreamTlsContext`. Raises ConfigError."""
    if view.boolean("allow_renegotiation"):
        view.fail("renegotiation isn't supported by meshproxy", "allow_renegotiation")
    view.ignore("max_session_keys")
    common = _compile_common(view.view("common_tls_context") or _no_common_context(view), context, "TLSv1_2")
    if len(common.certificates) > 1:
        view.fail("Multiple TLS certificates are not supported for client contexts", "common_tls_context")
    sni = view.text("sni")
    if len(sni) > 255 or not sni.isascii():
        view.fail("SNI must be ASCII of at most 255 bytes", "sni")
    san_validation = view.boolean("auto_sni_san_validation")
    if san_validation and not common.validates:
        view.fail("'auto_sni_san_validation' was configured without a validation context", "auto_sni_san_validation")
    return UpstreamTls(
        common=common,
        sni=sni,
        auto_host_sni=view.boolean("auto_host_sni"),
        auto_sni_san_validation=san_validation,
        enforce_rsa_key_usage=view.boolean("enforce_rsa_key_usage"),
    )


def _no_common_context(view: ConfigView) -> ConfigView:
    """What holds without `common_tls_context`: all its defaults."""
    kind = message_class(_PREFIX + "CommonTlsContext")
    assert kind is not None
    return ConfigView(kind(), path=view.path, place=view.place, source=view.source)


def compile_auto_sni(view: ConfigView | None) -> AutoSni | None:
    """`UpstreamHttpProtocolOptions`; None when nothing of it is asked for."""
    if view is None:
        return None
    options = AutoSni(
        header=view.text("override_auto_sni_header").lower(),
        sni=view.boolean("auto_sni"),
        san_validation=view.boolean("auto_san_validation"),
    )
    return options if options.sni or options.san_validation else None


def refuse_start_tls(view: ConfigView, context: CompileContext) -> None:
    """`StartTlsConfig`: a protocol that changes to TLS in the middle. Raises ConfigError."""
    view.fail("upgrading a connection to TLS (START_TLS) isn't supported by meshproxy: use a TLS transport socket")


def _compile_common(view: ConfigView, context: CompileContext, default_maximum: str) -> CommonTls:
    for problem in view.unsupported(*_COMMON_REFUSED):
        raise ConfigError(problem)
    validation, reference = _compile_validation(view, context)
    return CommonTls(
        parameters=compile_parameters(view.view("tls_params"), default_maximum=default_maximum),
        certificates=_compile_certificates(view, context),
        validation=validation,
        validation_reference=reference,
        alpn=_compile_alpn(view),
        key_log=_compile_key_log(view.view("key_log")),
    )


def _compile_key_log(view: ConfigView | None) -> KeyLog | None:
    if view is None:
        return None
    local, remote = (compile_ranges(view, f"{side}_address_range") for side in ("local", "remote"))
    return KeyLog(view.text("path"), CidrSet(local) if local else None, CidrSet(remote) if remote else None)


def _compile_alpn(view: ConfigView) -> tuple[str, ...]:
    """Envoy joins them with commas and takes them apart again, so that `h2,http/1.1` is two."""
    texts = view.texts("alpn_protocols")
    protocols = tuple(",".join(texts).split(",")) if texts else ()
    for protocol in protocols:
        if not 0 < len(protocol.encode()) < 256 or not protocol.isascii():
            view.fail(f"Invalid ALPN protocol '{protocol}'", "alpn_protocols")
    return protocols


def _compile_certificates(view: ConfigView, context: CompileContext) -> tuple[TlsCertificate | SecretReference, ...]:
    given: list[TlsCertificate | SecretReference] = [
        compile_certificate(entry, context.environ) for entry in view.views("tls_certificates")
    ]
    references = view.views("tls_certificate_sds_secret_configs")
    if given and references:
        view.fail("only one of tls_certificates and tls_certificate_sds_secret_configs can be set")
    for entry in references:
        secret = compile_reference(entry, context, TlsCertificate)
        assert not isinstance(secret, CertificateValidation)
        given.append(secret)
    return tuple(given)


def _compile_validation(
    view: ConfigView, context: CompileContext
) -> tuple[CertificateValidation | None, SecretReference | None]:
    kind = view.which("validation_context_type")
    if kind == "validation_context":
        return compile_validation(view.required(kind), context.environ), None
    if kind == "validation_context_sds_secret_config":
        return _referred(None, view.required(kind), context)
    if kind == "combined_validation_context":
        combined = view.required(kind)
        for problem in combined.unsupported(
            "validation_context_certificate_provider", "validation_context_certificate_provider_instance"
        ):
            raise ConfigError(problem)
        default = compile_validation(combined.required("default_validation_context"), context.environ, whole=False)
        return _referred(default, combined.required("validation_context_sds_secret_config"), context)
    return None, None


def _referred(
    default: CertificateValidation | None, view: ConfigView, context: CompileContext
) -> tuple[CertificateValidation | None, SecretReference | None]:
    secret = compile_reference(view, context, CertificateValidation)
    if isinstance(secret, SecretReference):
        return default, secret
    assert isinstance(secret, CertificateValidation)
    return (secret if default is None else default.merged(secret)), None
