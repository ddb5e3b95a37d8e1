"""A real proxy over real sockets in this process, and in a process of its own whoever is its client and its endpoints.

For counting instructions (`bench.instructions`): other than `wireless` this has the event loop's part and the way of a
socket from the listener to its connection in it.

`python -m bench.wired PORT CONNECTIONS CLOSE COUNT ENDPOINT...` is the other process.
An ENDPOINT is the descriptor of a listening socket.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from string import Template

import uvloop

from bench import load_h2
from bench.backend import backend
from bench.backend_server import Backend
from bench.dress import Certificates, dress
from bench.subjects import CONFIGS
from bench.wireless import requests
from meshproxy.config.text.bootstrap_load import read_source
from meshproxy.proxy import Proxy, load_configuration, make_logger, tune_collector
from meshproxy.runtime.downstream.listening_socket import open_socket
from meshproxy.runtime.process.bind import listening_addresses
from meshproxy.runtime.process.lifecycle import Lifecycle
from meshproxy.runtime.process.options import Options

_ENDPOINTS = ("backend_1", "backend_2", "backend_3")


def _start(configuration: str, directory: Path, values: dict[str, int]) -> tuple[Proxy, socket.socket]:
    """The proxy, and the socket that it listens on. values: the ports of the endpoints, by their names."""
    template = (CONFIGS / f"{configuration.split('+')[0]}.yaml").read_text()
    template = dress(template, configuration, Certificates(directory / "certs"))
    path = directory / "wired.yaml"
    log = str(directory / "access.log")
    text = Template(template).substitute(values, listener_port=0, admin_port=0, access_log=log)
    path.write_text(text.replace("connect_timeout: 1s", "connect_timeout: 60s"))  # valgrind is slow
    loop = asyncio.get_running_loop()
    loaded = load_configuration([read_source(path)])
    proxy = Proxy(loop, loaded, Options(), Lifecycle(loop, make_logger("main")))
    (listener,) = loaded.snapshot.listeners
    (address,) = listening_addresses(listener)
    listening = open_socket(listener, address)
    proxy.start({listener.name: [listening]})
    tune_collector()
    return proxy, listening


async def serve(configuration: str, directory: Path, count: int, *, connections: int, close: bool) -> None:
    """Serve `count` requests of a client with that many connections. close: a connection for each request."""
    endpoints = [socket.create_server(("127.0.0.1", 0)) for _ in _ENDPOINTS]
    values = {name: sock.getsockname()[1] for name, sock in zip(_ENDPOINTS, endpoints, strict=True)}
    proxy, listening = _start(configuration, directory, values)
    descriptors = [sock.fileno() for sock in endpoints]
    peer = map(str, (listening.getsockname()[1], connections, int(close), count, *descriptors))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.wired", *peer, pass_fds=descriptors)
    if await process.wait():
        raise RuntimeError("the client failed")
    proxy.close()


async def serve_http2(configuration: str, directory: Path, count: int, *, grpc: bool) -> None:
    """Serve `count` requests of h2load on four connections; the endpoint is nginx."""
    with backend(directory, cpu=len(os.sched_getaffinity(0)) - 1) as ports:
        values = {f"backend_{number}": port for number, port in enumerate(ports, 1)}
        proxy, listening = _start(configuration, directory, values)
        client = load_h2.start_counted(directory, listening.getsockname()[1], 4, count, "grpc" if grpc else "h2")
        said, _ = await asyncio.to_thread(client.communicate)
        if f"{count} succeeded" not in said:
            raise RuntimeError(f"the client failed: {said}")
        proxy.close()


async def _client(port: int, connections: int, close: bool, count: int, endpoints: list[int]) -> None:
    loop = asyncio.get_running_loop()
    for descriptor in endpoints:
        await loop.create_server(Backend, sock=socket.socket(fileno=descriptor))
    batch = requests(500, close=close)
    left = iter(range(count))

    async def ask() -> None:
        streams = None
        for number in left:
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", port)
            reader, writer = streams
            writer.write(batch[number % len(batch)])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(33)
            if close:
                assert await reader.read() == b""
                writer.close()
                streams = None

    await asyncio.gather(*(ask() for _ in range(connections)))


if __name__ == "__main__":
    port, connections, close, count, *endpoints = map(int, sys.argv[1:])
    uvloop.run(_client(port, connections, bool(close), count, endpoints))
