"""What stands beside the traffic in the process that is asked and told: admin, server statistics, the next epoch.

It is the same whether that process carries the traffic itself or is the parent of those that do.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from functools import partial

from meshproxy.proxy.worker import make_worker
from meshproxy.runtime.admin.start import make_program, start_admin
from meshproxy.runtime.discovery.engine import Discovery
from meshproxy.runtime.discovery.reload import Load, Reload
from meshproxy.runtime.process.configuration import Configuration, make_logger
from meshproxy.runtime.process.hot_restart import Succession
from meshproxy.runtime.process.lifecycle import Lifecycle
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.process.server_stats import ServerStats
from meshproxy.runtime.version import version
from meshproxy.runtime.workers.fleet import WorkerFleet
from meshproxy.telemetry.stats import StatsStore

ANNOUNCE_TAKEOVER = 2.0
"""Seconds between a takeover and the first closing of idle connections."""


class Management:
    """See the module. program: what admin shows and does. Raises BindError.

    stats: of this process. sockets: what is listened on. pids: of the processes that carry traffic.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        configuration: Configuration,
        options: Options,
        lifecycle: Lifecycle,
        fleet: WorkerFleet,
        stats: StatsStore,
        *,
        copies: int,
        sockets: Callable[[], Iterable[socket.socket]],
        pids: Callable[[], list[int]] = lambda: [os.getpid()],
    ) -> None:
        self.program = program = make_program(configuration, options, fleet)
        self._options = options
        self._configuration = configuration
        self._copies = copies
        self._lifecycle = lifecycle
        self._log = make_logger("main")
        snapshot = configuration.snapshot
        self._server_stats = ServerStats(
            stats, snapshot, copies, version(), program.visible_state, program.current, pids
        )
        own_worker = partial(make_worker, loop, configuration, options, stats, "main_thread")
        self._admin = start_admin(own_worker, configuration, options, stats, program)
        self._succession = Succession(
            loop,
            self._log,
            sockets=sockets,
            stop_admin=self.stop_admin,
            drain=partial(_hand_over, fleet, lifecycle),
        )

    def workers_started(self) -> None:
        """Each of them was made to run."""
        self._server_stats.workers_started.set(self._copies)

    def announce(self) -> None:
        """The program is up."""
        self.program.state = "LIVE"
        snapshot, options = self.program.snapshot, self._options
        self._log.info(
            "serving",
            version=version(),
            listeners=len(snapshot.listeners),
            clusters=len(snapshot.clusters),
            workers=options.concurrency,
            workers_from=options.concurrency_reason,
        )

    def await_successor(self) -> None:
        """Be there for the next epoch, which takes the sockets over."""
        self._succession.listen(self._options)

    def watch_for_reload(self, discovery: Discovery, load: Load | None) -> None:
        """From now on read the configuration again when asked to."""
        if load is not None:
            show = partial(setattr, self.program, "message")
            reload = Reload(discovery, self._configuration, load, self._options.config_path, self._log, show)
            reload.watch()
            self._lifecycle.on_hangup(reload.reload)

    def drain(self) -> None:
        """The end has begun: no epoch takes over any more."""
        self._succession.close()
        self.program.state = "DRAINING"

    def stop_admin(self) -> None:
        """Answer on the admin interface no more."""
        if self._admin is not None:
            self._admin.stop()


async def _hand_over(fleet: WorkerFleet, lifecycle: Lifecycle, deadline: float) -> None:
    """A successor accepts already: tell the clients, and end within `deadline` seconds.

    Idle connections are left open for a moment, so that most clients learn of it from an answer and none is cut off
    just when it asks.
    """
    announcing = min(ANNOUNCE_TAKEOVER, deadline)
    await fleet.stop_listeners(inbound_only=False)
    await fleet.ask("drain", {"duration": deadline, "immediate": True, "inbound_only": False})
    await asyncio.sleep(announcing)
    lifecycle.end_within(deadline - announcing)
