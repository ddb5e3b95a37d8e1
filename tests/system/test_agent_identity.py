"""The agent towards a control plane, which is grpcio: certificates asked for and renewed, secrets served, names."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from meshproxy.agent.figures import Figures
from meshproxy.agent.grpc.grpc_call import GrpcError
from meshproxy.agent.grpc.grpc_channel import Channel
from meshproxy.agent.grpc.grpc_server import serve_grpc
from meshproxy.agent.identity.identity import Identity
from meshproxy.agent.identity.sds import SOCKET
from meshproxy.agent.settings import AgentSettings, read_settings
from meshproxy.errors import ConfigError
from meshproxy.runtime.process.configuration import make_logger
from tests.system.istiod import Authority, Istiod

SPIFFE = "spiffe://cluster.local/ns/default/sa/web"
TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
LOG = make_logger("main")


@pytest.fixture(autouse=True)
def _in_a_pod_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Paths in a pod are relative to the working directory. A short one: a Unix socket's name has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="pod-") as name:
        monkeypatch.chdir(name)
        yield
        monkeypatch.undo()


@pytest.fixture
async def istiod() -> AsyncIterator[Istiod]:
    control_plane = Istiod(Authority(SPIFFE))
    server = await control_plane.start()
    yield control_plane
    await server.stop(0)


def settings_for(istiod: Istiod, **variables: str) -> AgentSettings:
    Path("root.pem").write_bytes(istiod.authority.root_pem)
    Path("token").write_text("a.b.c\n")
    return read_settings(
        {
            "SERVICE_ACCOUNT": "web",
            "PROXY_CONFIG": f'{{"discoveryAddress": "localhost:{istiod.port}"}}',
            "CA_ROOT_CA": "root.pem",
            "JWT_PATH": "token",
            "ISTIOD_SAN": "localhost",
            "OUTPUT_CERTS": "certs",
            "ISTIO_META_CLUSTER_ID": "east",
            **variables,
        }
    )


async def until(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("algorithm", ["", "ECDSA"])
async def test_a_certificate_is_asked_for_as_the_service_account(istiod: Istiod, algorithm: str) -> None:
    variables = {"ECC_SIGNATURE_ALGORITHM": algorithm, "SECRET_TTL": "2h", "ISTIO_META_CERT_SIGNER": "issuers/web"}
    identity = Identity(settings_for(istiod, **variables), LOG, Figures())
    assert identity.missing == "no certificate: none received yet"
    await identity.start()
    try:
        await until(lambda: not identity.missing)
        request = istiod.requests[0]
        assert request.validity_duration == 7200
        assert dict(request.metadata) == {"CertSigner": "issuers/web"}
        csr = x509.load_pem_x509_csr(request.csr.encode())
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [name.value for name in names] == [SPIFFE]
        assert istiod.metadata[0]["authorization"] == "Bearer a.b.c"
        assert istiod.metadata[0]["clusterid"] == "east"
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in Path("certs").iterdir()}
        assert modes == {"key.pem": 0o600, "cert-chain.pem": 0o644, "root-cert.pem": 0o644}
        assert Path("certs/root-cert.pem").read_bytes() == istiod.authority.root_pem
    finally:
        identity.close()


async def test_a_longer_key_in_the_other_form_for_who_is_known_by_a_certificate(istiod: Istiod) -> None:
    from meshproxy.agent.identity.certificates import write_files
    from meshproxy.agent.identity.credentials import KeyOptions, make_request, read_chain

    key, request = make_request(SPIFFE, KeyOptions(ecdsa=True))
    write_files(Path("earlier"), read_chain(key, istiod.authority.sign(request.decode())))
    variables = {"WORKLOAD_RSA_KEY_SIZE": "3072", "PKCS8_KEY": "true", "PROV_CERT": "earlier"}
    identity = Identity(settings_for(istiod, **variables), LOG, Figures())
    await identity.start()
    try:
        await until(lambda: not identity.missing)
        assert Path("certs/key.pem").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
        made = x509.load_pem_x509_csr(istiod.requests[0].csr.encode()).public_key()
        assert isinstance(made, rsa.RSAPublicKey)
        assert made.key_size == 3072
        assert "authorization" not in istiod.metadata[0]
    finally:
        identity.close()


@pytest.mark.parametrize(
    ("variable", "value"), [("WORKLOAD_RSA_KEY_SIZE", "1024"), ("USE_EXTERNAL_WORKLOAD_SDS", "true")]
)
async def test_what_an_identity_cant_be_made_of_is_named(istiod: Istiod, variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        Identity(settings_for(istiod, **{variable: value}), LOG, Figures())


async def test_an_authority_that_fails_is_asked_again_and_says_why(istiod: Istiod) -> None:
    istiod.failing = True
    identity = Identity(settings_for(istiod), LOG, Figures())
    await identity.start()
    try:
        await until(lambda: "not yet" in identity.missing)
        istiod.failing = False
        await until(lambda: not identity.missing)
    finally:
        identity.close()


async def test_an_authority_of_another_root_is_not_trusted(istiod: Istiod) -> None:
    settings = settings_for(istiod)
    Path("root.pem").write_bytes(Authority(SPIFFE).root_pem)
    identity = Identity(settings, LOG, Figures())
    await identity.start()
    try:
        await until(lambda: "certificate verify failed" in identity.missing)
        assert istiod.requests == []
    finally:
        identity.close()


async def test_renewed_at_half_of_its_life_and_sent_to_everyone_who_asked(istiod: Istiod) -> None:
    istiod.authority.lifetime = 3.0
    identity = Identity(settings_for(istiod), LOG, Figures())
    await identity.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{os.path.abspath(SOCKET)}") as channel:
            stream = channel.stream_stream(
                "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
                discovery_pb2.DiscoveryRequest.SerializeToString,
                discovery_pb2.DiscoveryResponse.FromString,
            )()
            await stream.write(discovery_pb2.DiscoveryRequest(type_url=TYPE, resource_names=["default", "ROOTCA"]))
            chains = []
            for _ in range(3):
                response = await asyncio.wait_for(stream.read(), 10)
                secrets = {
                    secret.name: secret
                    for secret in (secret_pb2.Secret.FromString(any_.value) for any_ in response.resources)
                }
                assert set(secrets) == {"default", "ROOTCA"}
                chains.append(secrets["default"].tls_certificate.certificate_chain.inline_bytes)
                root = secrets["ROOTCA"].validation_context.trusted_ca.inline_bytes
                assert root == istiod.authority.root_pem
                await stream.write(
                    discovery_pb2.DiscoveryRequest(
                        type_url=TYPE,
                        resource_names=["default", "ROOTCA"],
                        response_nonce=response.nonce,
                        version_info=response.version_info,
                    )
                )
            assert len(set(chains)) == 3
            stream.cancel()
    finally:
        identity.close()
    assert not Path(SOCKET).exists()


async def test_delta_secrets_come_once_per_version(istiod: Istiod) -> None:
    identity = Identity(settings_for(istiod), LOG, Figures())
    await identity.start()
    try:
        await until(lambda: not identity.missing)
        assert stat.S_IMODE(os.stat(SOCKET).st_mode) == 0o600
        async with grpc.aio.insecure_channel(f"unix:{os.path.abspath(SOCKET)}") as channel:
            stream = channel.stream_stream(
                "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets",
                discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
                discovery_pb2.DeltaDiscoveryResponse.FromString,
            )()
            request = discovery_pb2.DeltaDiscoveryRequest(type_url=TYPE, resource_names_subscribe=["default", "x"])
            await stream.write(request)
            first = await asyncio.wait_for(stream.read(), 20)
            assert [resource.name for resource in first.resources] == ["default"]
            await stream.write(discovery_pb2.DeltaDiscoveryRequest(type_url=TYPE, response_nonce=first.nonce))
            await stream.write(discovery_pb2.DeltaDiscoveryRequest(type_url=TYPE, resource_names_subscribe=["ROOTCA"]))
            second = await asyncio.wait_for(stream.read(), 20)
            assert [resource.name for resource in second.resources] == ["ROOTCA"]
            stream.cancel()
    finally:
        identity.close()


async def test_mounted_files_are_followed(istiod: Istiod) -> None:
    from meshproxy.agent.identity.certificates import MOUNTED, write_files
    from meshproxy.agent.identity.credentials import KeyOptions, make_request, read_chain

    def issue() -> object:
        key, request = make_request(SPIFFE, KeyOptions(ecdsa=True))
        credentials = read_chain(key, istiod.authority.sign(request.decode()))
        write_files(MOUNTED, credentials)
        return credentials

    first = issue()
    identity = Identity(settings_for(istiod), LOG, Figures())
    await identity.start()
    try:
        await until(lambda: identity.certificates.current == first)
        (MOUNTED / "key.pem").write_bytes(b"half a key")
        await until(lambda: identity.certificates.problem != "")
        assert identity.certificates.current == first
        second = issue()
        await until(lambda: identity.certificates.current == second)
        assert istiod.requests == []
    finally:
        identity.close()


async def test_secrets_of_files_by_their_names(istiod: Istiod) -> None:
    Path("chain.pem").write_bytes(b"chain")
    identity = Identity(settings_for(istiod), LOG, Figures())
    await identity.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{os.path.abspath(SOCKET)}") as channel:
            stream = channel.stream_stream(
                "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets",
                discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
                discovery_pb2.DeltaDiscoveryResponse.FromString,
            )()
            names = ["file-cert:chain.pem~key.pem", "file-root:chain.pem", "file-root:none.pem", "file-cert:chain.pem"]
            request = discovery_pb2.DeltaDiscoveryRequest(type_url=TYPE, resource_names_subscribe=names)
            await stream.write(request)

            async def next_secrets() -> dict[str, secret_pb2.Secret]:
                response = await asyncio.wait_for(stream.read(), 20)
                return {entry.name: secret_pb2.Secret.FromString(entry.resource.value) for entry in response.resources}

            found = await next_secrets()
            assert found.keys() == {"file-root:chain.pem"}
            assert found["file-root:chain.pem"].validation_context.trusted_ca.inline_bytes == b"chain"
            Path("key.pem").write_bytes(b"key")
            pair = (await next_secrets())["file-cert:chain.pem~key.pem"].tls_certificate
            assert (pair.certificate_chain.inline_bytes, pair.private_key.inline_bytes) == (b"chain", b"key")
            stream.cancel()
    finally:
        identity.close()


async def test_further_roots_are_trusted_too(istiod: Istiod) -> None:
    identity = Identity(settings_for(istiod), LOG, Figures())
    await identity.start()
    try:
        await until(lambda: not identity.missing)
        before = identity.known_secrets.find("ROOTCA")
        identity.known_secrets.trust(b"another root")
        after = identity.known_secrets.find("ROOTCA")
        assert before is not None
        assert after is not None
        assert before.version != after.version
        secret = secret_pb2.Secret.FromString(after.resource.value)
        assert secret.validation_context.trusted_ca.inline_bytes == istiod.authority.root_pem + b"another root"
    finally:
        identity.close()


async def test_a_foreign_server_of_secrets_is_left_alone(istiod: Istiod) -> None:
    os.makedirs(os.path.dirname(SOCKET))
    foreign = await serve_grpc(SOCKET, {})
    identity = Identity(settings_for(istiod), LOG, Figures())
    await identity.start()
    assert identity.secrets == SOCKET
    assert not identity.is_ours
    identity.close()
    assert Path(SOCKET).exists()
    foreign.close()


async def test_calls_end_with_the_peers_status(istiod: Istiod) -> None:
    """Our client against grpcio's server, our server against grpcio's client."""
    import ssl

    context = ssl.create_default_context(cadata=istiod.authority.root_pem.decode())
    context.set_alpn_protocols(["h2"])
    channel = await Channel.connect("localhost", istiod.port, tls=context)
    with pytest.raises(GrpcError) as caught:
        await channel.unary("/no.Such/Method", b"")
    assert caught.value.code == 12
    channel.close()

    async def double(call: Any) -> None:
        async for message in call:
            call.send(message * 2)

    async def fail(call: Any) -> None:
        raise GrpcError(9, "nicht jetzt: \N{SNOWMAN} 100%")

    server = await serve_grpc("grpc.sock", {"/a.B/Double": double, "/a.B/Fail": fail})
    async with grpc.aio.insecure_channel(f"unix:{os.path.abspath('grpc.sock')}") as client:
        assert await client.unary_unary("/a.B/Double")(b"x" * 2_000_000) == b"x" * 4_000_000
        for path, code, detail in (
            ("/a.B/Fail", grpc.StatusCode.FAILED_PRECONDITION, "nicht jetzt: \N{SNOWMAN} 100%"),
            ("/a.B/None", grpc.StatusCode.UNIMPLEMENTED, "there is no method /a.B/None"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await client.unary_unary(path)(b"")
            assert (failed.value.code(), failed.value.details()) == (code, detail)
    server.close()


async def test_a_grpc_probe_asks_for_the_services_health() -> None:
    """The application is a grpcio server; the bytes are those of its health service."""
    from meshproxy.agent.application.grpc_probe import check_health

    answers = {b"": b"\x08\x01", b"\x0a\x03api": b"\x08\x02"}

    async def check(request: bytes, context: object) -> bytes:
        return answers[request]

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(check)
    handlers = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
    server.add_generic_rpc_handlers([handlers])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    assert await check_health("127.0.0.1", port, "", 5) == ""
    assert await check_health("127.0.0.1", port, "api", 5) == "the service says that it doesn't serve"
    assert "2" in await check_health("127.0.0.1", port, "x" * 300, 5)
    await server.stop(0)
    assert await check_health("127.0.0.1", port, "", 5) != ""


async def test_a_call_without_an_answer_ends_in_time(istiod: Istiod) -> None:
    async def silent(call: Any) -> None:
        await asyncio.sleep(60)

    server = await serve_grpc("silent.sock", {"/a.B/C": silent})
    channel = await Channel.connect("./silent.sock", 0)
    with pytest.raises(GrpcError) as caught:
        await channel.unary("/a.B/C", b"", timeout=0.2)
    assert caught.value.code == 4
    channel.close()
    server.close()
    with pytest.raises(GrpcError, match="takes no more calls"):
        channel.call("/a.B/C")
