"""OCSP responses beside certificates: who gets them, and what becomes of handshakes without a good one."""

from __future__ import annotations

import ssl
from typing import Any

from ..case import Case, Difference
from ..known import ALERT_WITHOUT_STAPLE
from .tls import DIRECTORY, V12, V13, case, downstream, tls_client

_STATS = r"^listener\.127\.0\.0\.1_$port\.ssl\.(ocsp_.*|handshake|connection_error|fail_.*)$"
_LOG = "%RESPONSE_CODE% %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%\n"


def shown(name: str, staple: str = "") -> str:
    beside = f", ocsp_staple: {{filename: {DIRECTORY}/{staple}.ocsp}}" if staple else ""
    files = (
        f"certificate_chain: {{filename: {DIRECTORY}/{name}.pem}}, private_key: {{filename: {DIRECTORY}/{name}.key}}"
    )
    return f"{{{files}{beside}}}"


def stapled(
    name: str,
    certificates: str,
    policy: str = "",
    differs: Difference | None = None,
    versions: tuple[ssl.TLSVersion, ...] = (V12, V13),
    **options: Any,
) -> list[Case]:
    context = f"ocsp_staple_policy: {policy}" if policy else ""
    socket = downstream(certificates=certificates, context=context)
    return [
        case(
            f"staple-{name}-{version.name[-1]}",
            socket,
            tls_client(version=version, **options),
            log=_LOG,
            stats=_STATS,
            differs=differs,
        )
        for version in versions
    ]


GOOD, EXPIRED = shown("server", "server"), shown("server", "expired")
MUST, MUST_EXPIRED = shown("must-staple", "must-staple"), shown("must-staple", "must-staple-expired")
CASES = [
    *stapled("unasked", GOOD),
    *stapled("unasked-expired-strict", EXPIRED, "STRICT_STAPLING"),
    *stapled("none", shown("server"), staple=True),
    *stapled("none-strict", shown("server"), "STRICT_STAPLING", staple=True),
    *stapled("good", GOOD, staple=True),
    *stapled("good-strict", GOOD, "STRICT_STAPLING", staple=True),
    *stapled("good-must", GOOD, "MUST_STAPLE", staple=True),
    *stapled("revoked", shown("server", "revoked"), staple=True),
    *stapled("future", shown("server", "future"), staple=True),
    *stapled("endless", shown("server", "endless"), staple=True),
    *stapled("expired", EXPIRED, staple=True),
    *stapled("expired-strict", EXPIRED, "STRICT_STAPLING", differs=ALERT_WITHOUT_STAPLE, staple=True),
    *stapled("expired-must", EXPIRED, "MUST_STAPLE", differs=ALERT_WITHOUT_STAPLE, staple=True),
    *stapled("demanded", MUST, staple=True),
    *stapled("demanded-unasked", MUST_EXPIRED),
    *stapled("demanded-expired", MUST_EXPIRED, differs=ALERT_WITHOUT_STAPLE, staple=True),
    *stapled("two-keys", f"{GOOD}, {shown('server-rsa', 'server-rsa')}", staple=True),
    *stapled(
        "other-key",
        f"{shown('server')}, {shown('server-rsa', 'server-rsa')}",
        staple=True,
        versions=(V12,),
        ciphers="ECDHE-RSA-AES128-GCM-SHA256",
    ),
]
