"""TLS with real sockets: rotation while connections live, half-closes, bulk, peers that misbehave."""

from __future__ import annotations

import asyncio
import enum
import functools
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests import uv
from tests.certificates import ID, Authority, Folder, Issued, folder, uri
from tests.ports import free_ports
from tests.system.program import Program, serving
from tests.system.upstream_rig import Running, running

CERTS = folder()
_PACKAGE = "type.googleapis.com/envoy.extensions"
_DOWN = f"{_PACKAGE}.transport_sockets.tls.v3.DownstreamTlsContext"
_UP = f"{_PACKAGE}.transport_sockets.tls.v3.UpstreamTlsContext"
ECHO = f"{{name: echo, typed_config: {{'@type': {_PACKAGE}.filters.network.echo.v3.Echo}}}}"
TCP = (
    f"{{name: tcp, typed_config: {{'@type': {_PACKAGE}.filters.network.tcp_proxy.v3.TcpProxy, "
    "stat_prefix: t, cluster: c}}"
)


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on the loop that the program runs on, and see that a peer's bytes raise nothing into it."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        faults: list[object] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
            await test(*arguments, **named)

        uv.run(watched())
        assert not faults

    return run


def files(path: Path, name: str = "server") -> str:
    return f"{{certificate_chain: {{filename: {path}/{name}.pem}}, private_key: {{filename: {path}/{name}.key}}}}"


def bootstrap(common: str, *, context: str = "", network: str = ECHO, cluster: str = "") -> str:
    return f"""
static_resources:
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters: [{network}]
      transport_socket:
        name: tls
        typed_config: {{"@type": {_DOWN}, common_tls_context: {{{common}}}{", " + context if context else ""}}}
  clusters: [{{name: c, {cluster or "type: STATIC"}}}]
"""


class TlsClient:
    """A connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(
        cls, proxy: Running | Program, context: ssl.SSLContext, server_name: str = "server.test"
    ) -> TlsClient:
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port, ssl=context, server_hostname=server_name))

    @property
    def shown(self) -> str:
        """The common name of the certificate that the proxy showed."""
        certificate = self.writer.get_extra_info("peercert")
        return str(dict(pair for part in certificate["subject"] for pair in part)["commonName"])

    async def echo(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(data)), 20)

    def close(self) -> None:
        self.writer.transport.abort()


async def shown_now(proxy: Running | Program, context: ssl.SSLContext) -> str:
    client = await TlsClient.open(proxy, context)
    client.close()
    return client.shown


async def until_shown(proxy: Running | Program, context: ssl.SSLContext, name: str, seconds: float = 1.5) -> None:
    """New handshakes must show `name` within a second; the half is for a busy machine."""
    deadline = asyncio.get_running_loop().time() + seconds
    shown = ""
    while shown != name:
        assert asyncio.get_running_loop().time() < deadline, f"{name} isn't shown, but {shown!r}"
        await asyncio.sleep(0.05)
        with suppress(ConnectionError, ssl.SSLError):
            shown = await shown_now(proxy, context)


async def refuses(proxy: Running | Program, context: ssl.SSLContext) -> bool:
    """Whether a client that shows itself so gets nothing through now."""
    client = await TlsClient.open(proxy, context)
    try:
        await client.echo(b"x")
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return True
    client.close()
    return False


class Mesh:
    """A folder of one test, with an authority of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.authority = Authority("mesh")
        (path / "ca.pem").write_bytes(self.authority.pem)

    def issue(self, common_name: str) -> Issued:
        return self.authority.issue(common_name, uri(ID + common_name))

    def put(self, common_name: str, name: str = "server") -> None:
        self.issue(common_name).write(self.path, name)

    def client(self, name: str = "") -> ssl.SSLContext:
        return Folder(self.path, {}).client_context(name)


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    found = Mesh(tmp_path)
    found.put("one")
    return found


@on_uvloop
async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_live_on(mesh: Mesh) -> None:
    async with running(bootstrap(f"tls_certificates: [{files(mesh.path)}]")) as proxy:
        before = await TlsClient.open(proxy, mesh.client())
        assert before.shown == "one"
        mesh.put("two")
        await until_shown(proxy, mesh.client(), "two")
        assert await before.echo(b"still here") == b"still here"
        before.close()


@on_uvloop
async def test_a_certificate_without_its_key_changes_nothing_until_the_key_comes(mesh: Mesh) -> None:
    async with running(bootstrap(f"tls_certificates: [{files(mesh.path)}]")) as proxy:
        two = mesh.issue("two")
        (mesh.path / "server.pem").write_bytes(two.pem)
        await asyncio.sleep(0.8)
        assert await shown_now(proxy, mesh.client()) == "one"
        (mesh.path / "server.key").write_bytes(two.key_pem)
        await until_shown(proxy, mesh.client(), "two")


@on_uvloop
async def test_garbage_and_deletion_change_nothing(mesh: Mesh) -> None:
    async with running(bootstrap(f"tls_certificates: [{files(mesh.path)}]")) as proxy:
        (mesh.path / "server.pem").write_text("garbage")
        await asyncio.sleep(0.8)
        assert await shown_now(proxy, mesh.client()) == "one"
        (mesh.path / "server.pem").unlink()
        await asyncio.sleep(0.8)
        assert await shown_now(proxy, mesh.client()) == "one"
        mesh.put("three")
        await until_shown(proxy, mesh.client(), "three")


def mounted(path: Path, version: str, issued: Issued) -> None:
    """What Kubernetes does to a mounted secret: a new directory, then one rename of the link `..data`."""
    directory = path / f"..{version}"
    directory.mkdir()
    (directory / "tls.crt").write_bytes(issued.pem)
    (directory / "tls.key").write_bytes(issued.key_pem)
    (path / "..data_tmp").symlink_to(directory.name)
    os.replace(path / "..data_tmp", path / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (path / name).is_symlink():
            (path / name).symlink_to(f"..data/{name}")


SECRET = f"""
resources:
- "@type": {_PACKAGE}.transport_sockets.tls.v3.Secret
  name: %s
  tls_certificate:
    certificate_chain: {{filename: %s/tls.crt}}
    private_key: {{filename: %s/tls.key}}
    watched_directory: {{path: %s}}
"""
BY_FILE = (
    "tls_certificate_sds_secret_configs: [{{name: default, sds_config: {{path_config_source: {{path: {0}/sds.yaml}}, "
    "resource_api_version: V3, initial_fetch_timeout: 0.2s}}}}]"
)


@asynccontextmanager
async def discovering(mesh: Mesh) -> AsyncIterator[Program]:
    """A program whose certificate is a secret of the file sds.yaml, which it discovers as it does all resources."""
    port, admin = free_ports(2)
    text = bootstrap(BY_FILE.format(mesh.path)).replace("port_value: 0", f"port_value: {port}")
    where = f"socket_address: {{address: 127.0.0.1, port_value: {admin}}}"
    text += f"admin: {{address: {{{where}}}}}\nnode: {{id: tests, cluster: tests}}\n"
    async with serving(mesh.path, text, port, admin) as program:
        yield program


@on_uvloop
async def test_a_mounted_secret_is_followed_through_its_links(mesh: Mesh) -> None:
    secret = mesh.path / "mount"
    secret.mkdir()
    mounted(secret, "1", mesh.issue("one"))
    (mesh.path / "sds.yaml").write_text(SECRET % ("default", secret, secret, secret))
    async with discovering(mesh) as proxy:
        before = await TlsClient.open(proxy, mesh.client())
        assert before.shown == "one"
        mounted(secret, "2", mesh.issue("two"))
        shutil.rmtree(secret / "..1")
        await until_shown(proxy, mesh.client(), "two")
        assert await before.echo(b"x") == b"x"
        before.close()


@on_uvloop
async def test_a_secret_that_has_not_come_refuses_handshakes_until_it_does(mesh: Mesh) -> None:
    secret = mesh.path / "mount"
    secret.mkdir()
    mounted(secret, "1", mesh.issue("one"))
    (mesh.path / "sds.yaml").write_text(SECRET % ("another", secret, secret, secret))
    async with discovering(mesh) as proxy:
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await TlsClient.open(proxy, mesh.client())
        (mesh.path / "new.yaml").write_text(SECRET % ("default", secret, secret, secret))
        os.replace(mesh.path / "new.yaml", mesh.path / "sds.yaml")
        await until_shown(proxy, mesh.client(), "one")


@on_uvloop
async def test_a_former_authority_is_trusted_no_more_within_a_second(mesh: Mesh) -> None:
    mesh.put("client", "client")
    validation = f"validation_context: {{trusted_ca: {{filename: {mesh.path}/trust.pem}}}}"
    (mesh.path / "trust.pem").write_bytes(mesh.authority.pem)
    text = bootstrap(
        f"tls_certificates: [{files(mesh.path)}], {validation}", context="require_client_certificate: true"
    )
    async with running(text) as proxy:
        before = await TlsClient.open(proxy, mesh.client("client"))
        assert await before.echo(b"x") == b"x"
        (mesh.path / "trust.pem").write_bytes(Authority("another").pem)
        async with asyncio.timeout(1.5):  # a second, and half of one for a busy machine
            while not await refuses(proxy, mesh.client("client")):
                await asyncio.sleep(0.05)
        assert await before.echo(b"y") == b"y"
        before.close()


@on_uvloop
async def test_no_session_is_resumed_where_client_certificates_count() -> None:
    validation = f"validation_context: {{trusted_ca: {{filename: {CERTS.path}/ca.pem}}}}"
    text = bootstrap(
        f"tls_certificates: [{files(CERTS.path)}], {validation}", context="require_client_certificate: true"
    )
    async with running(text) as proxy:
        client = await TlsClient.open(proxy, CERTS.client_context("client"))
        assert await client.echo(b"x") == b"x"
        assert not client.writer.get_extra_info("ssl_object").session.has_ticket
        client.close()


@on_uvloop
async def test_bulk_in_both_directions_with_a_reader_that_lags() -> None:
    data = os.urandom(1 << 20) * 6
    async with running(bootstrap(f"tls_certificates: [{files(CERTS.path)}]")) as proxy:
        client = await TlsClient.open(proxy, CERTS.client_context(""))
        client.writer.write(data)
        received = bytearray()
        await asyncio.sleep(0.3)  # the proxy's buffer fills; it must stop reading rather than keep all of it
        while len(received) < len(data):
            received += await asyncio.wait_for(client.reader.read(65536), 10)
        assert received == data
        client.close()


@on_uvloop
async def test_a_handshake_in_single_bytes() -> None:
    async with running(bootstrap(f"tls_certificates: [{files(CERTS.path)}]")) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = CERTS.client_context("").wrap_bio(incoming, outgoing, server_hostname="server.test")
        done = False
        while not done:
            try:
                tls.do_handshake()
                tls.write(b"hello")
                done = True
            except ssl.SSLWantReadError:
                pass
            for byte in outgoing.read():
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            if not done:
                incoming.write(await asyncio.wait_for(reader.read(65536), 20))
        answer = b""
        while not answer:
            incoming.write(await asyncio.wait_for(reader.read(65536), 20))
            try:
                answer = tls.read(100)
            except ssl.SSLWantReadError:
                pass
        assert answer == b"hello"
        writer.transport.abort()


@pytest.mark.parametrize("junk", [b"\x15\x03\x03\x00\x02\x02\xff", b"\x17\x03\x03\x00\x20" + b"z" * 32, b"\x00" * 100])
@on_uvloop
async def test_junk_after_the_handshake_ends_that_connection_only(junk: bytes) -> None:
    async with running(bootstrap(f"tls_certificates: [{files(CERTS.path)}]")) as proxy:
        other = await TlsClient.open(proxy, CERTS.client_context(""))
        sock = socket.create_connection(("127.0.0.1", proxy.port))

        def spoil() -> bytes:
            raw = os.dup(sock.fileno())
            with CERTS.client_context("").wrap_socket(sock, server_hostname="server.test") as tls:
                tls.sendall(b"x")
                tls.recv(1)
                os.write(raw, junk)
                os.close(raw)
                tls.settimeout(5)
                try:
                    return tls.recv(100)
                except OSError:
                    return b""

        assert await asyncio.to_thread(spoil) == b""
        assert await other.echo(b"y") == b"y"
        other.close()


class End(enum.Flag):
    """How a client says that it sends nothing more."""

    NONE = 0
    NOTIFY = enum.auto()
    FIN = enum.auto()


def _half_closing_client(port: int, end: End) -> tuple[bytes, bool]:
    """Sends, says that this is all, and reads on: what came, and whether the proxy said close_notify too."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(5)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = CERTS.client_context("").wrap_bio(incoming, outgoing, server_hostname="server.test")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        tls.write(b"question")
        if end & End.NOTIFY:
            with pytest.raises(ssl.SSLWantReadError):
                tls.unwrap()
        sock.sendall(outgoing.read())
        if end & End.FIN:
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            try:
                data = tls.read(1000)
                if not data:
                    return answer, True
                answer += data
            except ssl.SSLWantReadError:
                try:
                    data = sock.recv(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    return answer, False
                incoming.write(data)
            except ssl.SSLZeroReturnError:
                return answer, True


async def through_tcp_proxy(serve: Callable[..., Coroutine[Any, Any, None]], end: End) -> tuple[bytes, bool]:
    """What such a client gets of a host that does `serve` behind the proxy."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cluster = (
        "load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: "
        f"{{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}"
    )
    text = bootstrap(f"tls_certificates: [{files(CERTS.path)}]", network=TCP, cluster=cluster)
    async with running(text) as proxy:
        got = await asyncio.to_thread(_half_closing_client, proxy.port, end)
    server.close()
    return got


@pytest.mark.parametrize("end", [End.NOTIFY, End.FIN, End.NOTIFY | End.FIN], ids=["notify", "fin", "both"])
@on_uvloop
async def test_an_end_is_a_half_close_through_the_tcp_proxy(end: End) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(-1))
        writer.write(b"answer after your end")
        writer.close()

    assert await through_tcp_proxy(serve, end) == (b"answer after your end", True)
    assert seen == [b"question"]


@on_uvloop
async def test_no_end_in_good_order_is_announced_where_the_host_has_reset_the_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(b"question"))
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    assert await through_tcp_proxy(serve, End.NONE) == (b"", False)


@on_uvloop
async def test_our_certificate_is_not_shown_to_a_server_that_is_refused() -> None:
    """In TLS 1.3 the client's certificate goes with its last flight, which is held until the server is accepted."""
    shown: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown.append(writer.get_extra_info("peercert"))
        writer.close()

    server = await asyncio.start_server(
        serve, "127.0.0.1", 0, ssl=CERTS.server_context("server", ca="ca"), ssl_handshake_timeout=2
    )
    port = server.sockets[0].getsockname()[1]
    rule = "match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: 'spiffe://cluster.local/other'}}]"
    cluster = (
        "load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: "
        f"{{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]}}, transport_socket: {{name: tls, typed_config: "
        f"{{'@type': {_UP}, common_tls_context: {{tls_params: {{tls_maximum_protocol_version: TLSv1_3}}, "
        f"tls_certificates: [{files(CERTS.path, 'client')}], validation_context: "
        f"{{trusted_ca: {{filename: {CERTS.path}/ca.pem}}, {rule}}}}}}}}}"
    )
    text = bootstrap(f"tls_certificates: [{files(CERTS.path)}]", network=TCP, cluster=cluster)
    async with running(text) as proxy:
        client = await TlsClient.open(proxy, CERTS.client_context(""))
        assert await asyncio.wait_for(client.reader.read(10), 20) == b""
        assert proxy.stat("ssl.fail_verify_san") >= 1
        assert shown == []
        client.close()
    server.close()


def test_what_few_configurations_need_is_imported_with_them_only() -> None:
    heavy = (
        "cryptography",
        "meshproxy.runtime.tls.transport",
        "meshproxy.cel.compiler",
        "meshproxy.codec.h2_connection",
    )
    code = f"import sys, meshproxy.proxy\nprint([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
