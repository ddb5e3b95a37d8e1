"""TLS contexts from text: what each part becomes, and what is refused at which place."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshproxy.config.text.bootstrap_load import Source, load_message
from meshproxy.config.tls.tls import DOWNSTREAM_TLS, UPSTREAM_TLS, compile_downstream_tls, compile_upstream_tls
from meshproxy.config.tls.tls_ciphers import DEFAULT_CIPHERS
from meshproxy.config.tls.tls_secrets import compile_static_secrets, load_secrets
from meshproxy.errors import ConfigError
from meshproxy.model.tls import (
    CertificateValidation,
    DataSource,
    DownstreamTls,
    SecretReference,
    TicketKeys,
    TlsCertificate,
    UpstreamTls,
)

SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
PAIR = "tls_certificates: [{certificate_chain: {filename: c.pem}, private_key: {inline_string: KEY}}]"

TWO = PAIR.replace("[{", "[{certificate_chain: {filename: d.pem}, private_key: {filename: d.key}}, {")


class Context:
    """What the compile functions ask of a CompileContext."""

    def __init__(self) -> None:
        self.environ = {"CHAIN": "from the environment"}
        self.secrets: dict[str, Any] = {}
        self.problems: list[Any] = []
        self.has_ads = False
        self.compile_api_source = None


def compiled(compile_: Callable[..., Any], name: str, text: str, context: Context | None = None) -> Any:
    view = load_message(name, [Source("t.yaml", textwrap.dedent(text))]).view
    config = compile_(view, context or Context())
    unread = view.unread_problems()
    if unread:
        raise ConfigError(unread)
    return config


def down(text: str, context: Context | None = None) -> DownstreamTls:
    return compiled(compile_downstream_tls, DOWNSTREAM_TLS, text, context)


def up(text: str) -> UpstreamTls:
    return compiled(compile_upstream_tls, UPSTREAM_TLS, text)


def common(text: str) -> str:
    return f"common_tls_context: {{{PAIR}, {text}}}"


def test_defaults_are_those_of_envoy() -> None:
    server, client = down(f"common_tls_context: {{{PAIR}}}"), up("common_tls_context: {}")
    assert (server.common.parameters.minimum, server.common.parameters.maximum) == ("TLSv1_2", "TLSv1_3")
    assert (client.common.parameters.minimum, client.common.parameters.maximum) == ("TLSv1_2", "TLSv1_2")
    assert server.common.parameters.ciphers == DEFAULT_CIPHERS
    assert not server.common.validates
    assert server.tickets


def test_no_representation_shows_a_key() -> None:
    config = down(f"common_tls_context: {{{PAIR}}}")
    (certificate,) = config.common.certificates
    assert isinstance(certificate, TlsCertificate)
    assert certificate.key == DataSource(data=b"KEY")
    assert "KEY" not in repr(config)
    assert "KEY" not in repr(certificate.key)


def test_sources_of_data() -> None:
    encoded = base64.b64encode(b"raw").decode()
    for text, expected in {
        "{filename: x}": DataSource(filename="x"),
        "{inline_string: x}": DataSource(data=b"x"),
        f"{{inline_bytes: {encoded}}}": DataSource(data=b"raw"),
        "{environment_variable: CHAIN}": DataSource(data=b"from the environment"),
    }.items():
        config = down(f"common_tls_context: {{tls_certificates: [{{certificate_chain: {text}, private_key: {text}}}]}}")
        (certificate,) = config.common.certificates
        assert isinstance(certificate, TlsCertificate)
        assert certificate.chain == expected


def test_suites_in_the_syntax_of_boringssl() -> None:
    suites = "[ECDHE-ECDSA-CHACHA20-POLY1305|ECDHE-ECDSA-AES128-GCM-SHA256]"
    config = down(common(f"tls_params: {{cipher_suites: ['{suites}', AES256-SHA, AES256-SHA], ecdh_curves: [P-256]}}"))
    parameters = config.common.parameters
    assert parameters.ciphers == ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256", "AES256-SHA")
    assert parameters.groups == ("prime256v1",)


def test_validation() -> None:
    config = down(
        common(
            "validation_context: {trusted_ca: {filename: ca.pem}, crl: {filename: crl.pem}, max_verify_depth: 2, "
            f"verify_certificate_hash: ['{'ab' * 32}', '{':'.join(['CD'] * 32)}'], "
            "match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a.test}}, "
            "{san_type: URI, matcher: {prefix: 'spiffe://a/'}}]}"
        )
    )
    validation = config.common.validation
    assert validation is not None
    assert validation.hashes == {b"\xab" * 32, b"\xcd" * 32}
    assert validation.max_depth == 2
    assert [(each.kind, each.exact_name) for each in validation.sans] == [("DNS", "a.test"), ("URI", "")]
    assert validation.sans[1].matches("spiffe://a/b")


def test_a_combined_context_is_the_default_with_the_secret_over_it() -> None:
    context = Context()
    context.secrets = {"ROOTCA": CertificateValidation(trusted_ca=DataSource("root.pem"))}
    config = down(
        common(
            "combined_validation_context: {default_validation_context: {crl: {filename: crl.pem}, "
            "match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: x}}]}, "
            "validation_context_sds_secret_config: {name: ROOTCA}}"
        ),
        context,
    )
    validation = config.common.validation
    assert validation is not None
    assert (validation.trusted_ca, validation.crl) == (DataSource("root.pem"), DataSource("crl.pem"))
    assert len(validation.sans) == 1


def test_secrets_by_name_and_by_file(tmp_path: Path) -> None:
    path = tmp_path / "sds.yaml"
    path.write_text("resources: []")
    context = Context()
    context.secrets = {"static": TlsCertificate()}
    text = f"""
    common_tls_context:
      tls_certificate_sds_secret_configs:
      - name: static
      - name: file
        sds_config: {{path_config_source: {{path: {path}, watched_directory: {{path: {tmp_path}}}}}}}
    """
    static, discovered = down(text, context).common.certificates
    assert static == TlsCertificate()
    assert isinstance(discovered, SecretReference)
    assert discovered.source is not None
    assert (discovered.name, discovered.source.path) == ("file", str(path))


def test_secrets_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "sds.yaml"
    path.write_text(
        f"""
version_info: "1"
resources:
- "@type": type.googleapis.com/{SECRET}
  name: default
  tls_certificate: {{certificate_chain: {{filename: a}}, private_key: {{filename: b}}}}
- "@type": type.googleapis.com/{SECRET}
  name: ROOTCA
  validation_context: {{trusted_ca: {{filename: c}}}}
"""
    )
    secrets = load_secrets(str(path), {})
    assert secrets == {
        "default": TlsCertificate(chain=DataSource("a"), key=DataSource("b"), name="default"),
        "ROOTCA": CertificateValidation(trusted_ca=DataSource("c"), name="ROOTCA"),
    }


@pytest.mark.parametrize("content", ["", "resources: []", "nonsense: 1", "resources: [{'@type': x}]", "- 1"])
def test_a_file_without_secrets_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "sds.yaml").write_text(content)
    with pytest.raises(ConfigError):
        load_secrets(str(tmp_path / "sds.yaml"), {})


def test_static_secrets() -> None:
    text = """
    secrets:
    - {name: a, tls_certificate: {certificate_chain: {filename: c}, private_key: {filename: k}}}
    - {name: a, validation_context: {}}
    - {name: b, session_ticket_keys: {keys: [{inline_string: x}]}}
    - {name: c}
    """
    views = load_message(
        "envoy.config.bootstrap.v3.Bootstrap.StaticResources", [Source("t", textwrap.dedent(text))]
    ).view.views("secrets")
    context = Context()
    secrets = compile_static_secrets(views, context)  # type: ignore[arg-type]  # what of a context it uses
    assert list(secrets) == ["a", "b"]
    assert secrets["b"] == TicketKeys((DataSource(data=b"x"),))
    assert "Duplicate static secret 'a'" in str(context.problems[0])
    assert "secrets of the kind none" in str(context.problems[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("common_tls_context: {}", "No TLS certificates found"),
        (common("tls_params: {tls_maximum_protocol_version: TLSv1_1}"), "below the minimum"),
        (
            common("tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_2}"),
            "below the minimum",
        ),
        (common("tls_params: {cipher_suites: [RC4-MD5]}"), "Failed to initialize cipher suites"),
        (common("tls_params: {ecdh_curves: [X25519, P-224]}"), "Failed to initialize ECDH curves P-224"),
        (common("tls_params: {ecdh_curves: [P-256, prime256v1]}"), "Failed to initialize ECDH curves prime256v1"),
        (common("tls_params: {signature_algorithms: [x]}"), "signature_algorithms"),
        (common("validation_context: {crl: {filename: x}}"), "without trusted CA"),
        (common("validation_context: {verify_certificate_hash: [abc]}"), "verify_certificate_hash"),
        (common("validation_context: {verify_certificate_spki: [abc]}"), "verify_certificate_spki"),
        (
            common(
                "validation_context: {match_typed_subject_alt_names: "
                "[{san_type: OTHER_NAME, matcher: {exact: x}, oid: 1-2-3}]}"
            ),
            "OTHER_NAME",
        ),
        (common("alpn_protocols: [é]"), "Invalid ALPN"),
        ("common_tls_context: {tls_certificate_sds_secret_configs: [{name: none}]}", "Unknown static secret: none"),
        (
            "common_tls_context: {tls_certificate_sds_secret_configs: "
            "[{name: x, sds_config: {path_config_source: {path: /none}}}]}",
            "must refer to an existing path",
        ),
        (
            "common_tls_context: {tls_certificate_sds_secret_configs: [{name: x, sds_config: {ads: {}}}]}",
            "needs dynamic_resources.ads_config",
        ),
        ("common_tls_context: {tls_certificates: [{certificate_chain: {filename: x}}]}", "No private key"),
        ("common_tls_context: {tls_certificates: [{private_key: {filename: x}}]}", "No certificate chain"),
        (
            "common_tls_context: {tls_certificates: "
            "[{certificate_chain: {environment_variable: NONE}, private_key: {filename: x}}]}",
            "environment variable 'NONE' isn't set",
        ),
    ],
)
def test_what_a_server_may_not_ask_for(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match="(?s).*" + message):
        down(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{common_tls_context: {}, allow_renegotiation: true}", "renegotiation"),
        (f"{{common_tls_context: {{{TWO}}}}}", "Multiple TLS certificates"),
        ("{common_tls_context: {}, auto_sni_san_validation: true}", "without a validation context"),
        (f"{{common_tls_context: {{}}, sni: {'x' * 256}}}", "SNI|sni|length"),
    ],
)
def test_what_a_client_may_not_ask_for(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match="(?s).*" + message):
        up(text)


def test_a_client_needs_no_common_context() -> None:
    plain = up("{sni: a.test}")
    assert (plain.sni, plain.common) == ("a.test", up("{sni: a.test, common_tls_context: {}}").common)
