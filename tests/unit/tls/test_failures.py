"""OpenSSL's errors in Envoy's words."""

from __future__ import annotations

import ssl

import pytest

from meshproxy.runtime.tls.failures import TlsFailure, describe, not_ready, verify_failure


def error(reason: str) -> ssl.SSLError:
    found = ssl.SSLError(1, reason)
    found.reason = reason
    return found


@pytest.mark.parametrize(
    ("reason", "text", "counter"),
    [
        ("WRONG_VERSION_NUMBER", "268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER", "connection_error"),
        (
            "PEER_DID_NOT_RETURN_A_CERTIFICATE",
            "268435648:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE"
            ":peer did not provide required client certificate",
            "fail_verify_no_cert",
        ),
        (
            "SSLV3_ALERT_HANDSHAKE_FAILURE",
            "268436496:SSL routines:OPENSSL_internal:SSLV3_ALERT_HANDSHAKE_FAILURE",
            "connection_error",
        ),
        (
            "TLSV1_ALERT_UNKNOWN_CA",
            "268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA",
            "connection_error",
        ),
        (
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            "268436572:SSL routines:OPENSSL_internal:TLSV1_ALERT_CERTIFICATE_REQUIRED",
            "connection_error",
        ),
        ("SOMETHING_NEW", "268435456:SSL routines:OPENSSL_internal:SOMETHING_NEW", "connection_error"),
    ],
)
def test_an_error_of_the_handshake(reason: str, text: str, counter: str) -> None:
    failure = describe(error(reason))
    assert failure.text == f"TLS_error:|{text}:TLS_error_end"
    assert failure.counter == counter


def test_a_certificate_that_is_not_accepted() -> None:
    failure = verify_failure("SAN matcher", "fail_verify_san")
    assert str(failure) == (
        "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: SAN matcher"
        ":TLS_error_end"
    )


def test_failures_are_os_errors_so_that_a_connect_fails_with_them() -> None:
    assert isinstance(not_ready(), OSError)
    assert isinstance(TlsFailure("x"), OSError)
