"""One worker of a fleet: a process forked from a parent, which tells it what to do and of what changes.

The parent imports this before it forks, so that what workers need is loaded once for all of them.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from dataclasses import replace
from functools import partial

import uvloop

from meshproxy.proxy.worker import Proxy, watch_loop
from meshproxy.runtime.discovery.engine import Discovery
from meshproxy.runtime.discovery.fleet_target import WorkerSide
from meshproxy.runtime.discovery.target import LocalTarget
from meshproxy.runtime.process.configuration import Configuration, make_logger
from meshproxy.runtime.process.lifecycle import Lifecycle
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.workers.channel import AnsweringEnd, open_end, take_sockets


def run_worker(
    configuration: Configuration,
    options: Options,
    discovery: Discovery,
    index: int,
    control: socket.socket,
    later: socket.socket,
    sockets: dict[str, list[socket.socket]],
) -> int:
    """One worker of a fleet; returns the exit code."""
    configuration.rng.seed()  # a fork draws the same numbers as its siblings otherwise
    uvloop.run(serve_worker(configuration, options, discovery, index, control, later, sockets))
    return 0


async def serve_worker(
    configuration: Configuration,
    options: Options,
    discovery: Discovery,
    index: int,
    control: socket.socket,
    later: socket.socket,
    sockets: dict[str, list[socket.socket]],
) -> None:
    """Carry traffic until the parent says to end, or is gone. discovery: the parent's, as it was at the fork."""
    loop = asyncio.get_running_loop()
    lifecycle = Lifecycle(loop, make_logger("main"))
    loop.add_signal_handler(signal.SIGTERM, lifecycle.drain.set)
    configuration = replace(configuration, snapshot=discovery.snapshot())
    proxy = Proxy(loop, configuration, options, lifecycle, index)
    follower = WorkerSide(
        LocalTarget(proxy.worker.clusters, proxy.listeners, proxy.tls, options),
        configuration.context,
        [(entry.config, entry.message) for entry in discovery.listeners.active.values()],
        [provider.resource for provider in discovery.routes.providers.values() if provider.resource is not None],
        [provider.resource for provider in discovery.secrets.providers.values() if provider.resource is not None],
        [(each.key[0], each.resource) for each in discovery.extensions.providers.values() if each.resource is not None],
        partial(take_sockets, later),
    )
    proxy.control.follow = follower.perform
    await proxy.worker.clusters.warm()
    proxy.start(sockets)
    await open_end(AnsweringEnd(proxy.control.perform, lifecycle.drain.set), control)
    with watch_loop(loop, configuration, worker=index).watching():
        await lifecycle.drain.wait()
        await proxy.drain_unless_told(options.drain_time, lifecycle)
    proxy.close()
