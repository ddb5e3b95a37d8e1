"""credential_injector: what secrets and tokens do over time. What Envoy does with a request, tests/parity shows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from meshproxy.config.tls import generic_secrets
from meshproxy.config.tls.tls_secrets import load_secrets
from meshproxy.errors import ConfigError
from meshproxy.model.tls import DataSource, GenericSecret, TlsCertificate
from meshproxy.plugin.replies import ResetReason
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.credential_injector import CredentialInjector

_KINDS = "type.googleapis.com/envoy.extensions.http.injected_credentials"


def secret_file(folder: Path, text: str, name: str = "s") -> str:
    """A file with a secret, written as Kubernetes does: another file takes its place."""
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    secret = {"@type": kind, "name": name, "generic_secret": {"secret": {"inline_string": text}}}
    path, new = folder / "secret.json", folder / "new.json"
    new.write_text(json.dumps({"resources": [secret]}))
    os.replace(new, path)
    return str(path)


def from_file(path: str) -> dict[str, Any]:
    return {"name": "s", "sds_config": {"path_config_source": {"path": path}}}


def injecting(credential: dict[str, Any]) -> FilterHarness:
    typed = {"@type": f"{_KINDS}.generic.v3.Generic", "credential": credential}
    return FilterHarness(CredentialInjector, {"credential": {"name": "c", "typed_config": typed}}, clusters=["xds"])


def with_tokens(folder: Path, **settings: Any) -> FilterHarness:
    typed = {
        "@type": f"{_KINDS}.oauth2.v3.OAuth2",
        "token_endpoint": {"uri": "http://auth.test/token", "cluster": "auth", "timeout": "5s"},
        "client_credentials": {"client_id": "me", "client_secret": from_file(secret_file(folder, "pw"))},
        **settings,
    }
    return FilterHarness(CredentialInjector, {"credential": {"name": "c", "typed_config": typed}})


def sent(harness: FilterHarness) -> str | None:
    exchange = harness.request()
    return exchange.upstream_headers.get("authorization") if exchange.reached_upstream else None


def answer(token: str, seconds: int = 600) -> bytes:
    return json.dumps({"access_token": token, "expires_in": seconds}).encode()


def test_a_secret_in_a_file_is_followed(tmp_path: Path) -> None:
    harness = injecting(from_file(secret_file(tmp_path, "one\n")))
    assert sent(harness) == "one"
    secret_file(tmp_path, "another")
    harness.clock.advance(1)
    assert sent(harness) == "another"
    (tmp_path / "secret.json").write_text("{")
    harness.clock.advance(1)
    assert sent(harness) == "another", "a file that isn't right changes nothing"


def test_a_change_while_a_file_is_read_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_and_replaced(path: str, environ: Mapping[str, str]) -> object:
        found = load_secrets(path, environ)
        secret_file(tmp_path, "two")
        return found

    path = secret_file(tmp_path, "one")
    with monkeypatch.context() as patched:
        patched.setattr(generic_secrets, "load_secrets", read_and_replaced)
        harness = injecting(from_file(path))
    assert sent(harness) == "one"
    harness.clock.advance(1)
    assert sent(harness) == "two"


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("own\n")
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    source = {"filename": str(tmp_path / "token")}
    resource = {"@type": kind, "name": "s", "generic_secret": {"secret": source}}
    (tmp_path / "s.json").write_text(json.dumps({"resources": [resource]}))
    harness = injecting(from_file(str(tmp_path / "s.json")))
    assert sent(harness) == "own"
    (tmp_path / "token").write_text("other!")
    harness.clock.advance(1)
    assert sent(harness) == "other!"


def test_a_secret_of_a_management_server_is_awaited() -> None:
    api = {
        "api_type": "GRPC",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
        "transport_api_version": "V3",
    }
    harness = injecting({"name": "s", "sds_config": {"api_config_source": api, "resource_api_version": "V3"}})
    (secret,) = harness._specs[0].context.awaited_secrets
    assert harness.request().status == 401
    (reference,) = secret.awaited
    assert secret.provide(reference, TlsCertificate()) == "it isn't a generic secret"
    assert secret.provide(reference, GenericSecret(DataSource(data=b"t"))) == ""
    assert sent(harness) == "t"
    assert secret.provide(reference, GenericSecret(DataSource(filename="/nowhere/at/all"))) != ""
    assert sent(harness) == "t"


@pytest.mark.parametrize("text", ["a\nb: c", "\x00", " \n"])
def test_what_no_header_can_hold_is_no_credential(tmp_path: Path, text: str) -> None:
    harness = injecting(from_file(secret_file(tmp_path, text)))
    assert harness.request().status == 401
    assert harness.stats["http.test.credential_injector.failed"] == 1


def test_a_token_is_fetched_anew_after_half_of_its_time(tmp_path: Path) -> None:
    harness = with_tokens(tmp_path)
    auth = harness.cluster("auth").returns(200, body=answer("one", 100))
    assert sent(harness) == "Bearer one"
    auth.returns(200, body=answer("two", 100))
    harness.clock.advance(49)
    assert sent(harness) == "Bearer one"
    harness.clock.advance(2)
    assert sent(harness) == "Bearer two"
    assert len(auth.requests) == 2
    assert b"client_secret=pw" in auth.requests[0].body


def test_a_token_outlives_its_server_to_its_end_and_no_longer(tmp_path: Path) -> None:
    harness = with_tokens(tmp_path, token_fetch_retry_interval="10s")
    auth = harness.cluster("auth").returns(200, body=answer("one", 100))
    assert sent(harness) == "Bearer one"
    auth.fails(ResetReason.CONNECT_FAILURE)
    harness.clock.advance(60)
    assert sent(harness) == "Bearer one"
    assert sent(harness) == "Bearer one"
    assert len(auth.requests) == 2, "nobody asks again so soon"
    harness.clock.advance(41)
    assert sent(harness) is None
    assert harness.stats["http.test.credential_injector.oauth2.token_fetch_failed_on_stream_reset"] == 2


def test_only_one_request_waits_for_the_next_token(tmp_path: Path) -> None:
    harness = with_tokens(tmp_path)
    auth = harness.cluster("auth").returns(200, body=answer("one", 100))
    sent(harness)
    auth.hangs()
    harness.clock.advance(60)
    waiting = harness.request()
    assert waiting.waiting
    assert sent(harness) == "Bearer one"
    harness.clock.advance(6)
    assert waiting.upstream_headers["authorization"] == "Bearer one"


@pytest.mark.parametrize("body", [b"[]", b"[" * 100_000, answer("a\nb"), answer(""), answer("t", 0), answer("t", -5)])
def test_bad_tokens(tmp_path: Path, body: bytes) -> None:
    harness = with_tokens(tmp_path)
    harness.cluster("auth").returns(200, body=body)
    assert harness.request().status == 401
    assert harness.stats["http.test.credential_injector.oauth2.token_fetch_failed_on_bad_token"] == 1


def test_refused_configurations(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        injecting(from_file(str(tmp_path / "none.json")))
    typed = {"@type": f"{_KINDS}.generic.v3.Generic", "credential": from_file(secret_file(tmp_path, "x"))}
    config = {"credential": {"name": "c", "typed_config": {**typed, "header": "a b"}}}
    with pytest.raises(ConfigError, match="header"):
        FilterHarness(CredentialInjector, config)
