"""Ports to listen on, below the ephemeral range, that no other run of these tests uses at the same time.

A program binds its ports only a while after they were chosen, and with SO_REUSEPORT, so a second run could choose and
even bind the same, and any connection may get an ephemeral one as its own. Therefore a process of tests takes a whole
block, and holds it by the name of an abstract Unix socket.
"""

from __future__ import annotations

import functools
import itertools
import random
import socket
from collections.abc import Iterator

_FIRST, _LAST, _SIZE = 10_500, 32_500, 256
_ENOUGH = 230


class PortBlock:
    """A block of free ports, ours until `release`."""

    def __init__(self) -> None:
        starts = list(range(_FIRST, _LAST - _SIZE, _SIZE))
        random.SystemRandom().shuffle(starts)
        for start in starts:
            lock = socket.socket(socket.AF_UNIX)
            try:
                lock.bind(f"\0proxy-parity-{start}")
            except OSError:
                lock.close()
                continue
            self._lock = lock
            ports = list(_free(start))
            if len(ports) < _ENOUGH:  # what an ended run left behind listens there
                lock.close()
                continue
            self._start = start
            self._ports = iter(ports)
            return
        raise OSError("no block of ports is free")

    def take(self) -> int:
        """The next free port of the block. Raises StopIteration when all are taken."""
        return next(self._ports)

    def around(self) -> Iterator[int]:
        """The free ports of the block, over and over, so that each is taken again as late as can be."""
        return itertools.chain.from_iterable(map(_free, itertools.repeat(self._start)))

    def release(self) -> None:
        self._lock.close()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that no other process of tests is given."""
    return list(itertools.islice(_ours()[1], count))


@functools.cache
def _ours() -> tuple[PortBlock, Iterator[int]]:
    block = PortBlock()
    return block, block.around()


def _free(start: int) -> Iterator[int]:
    for port in range(start, start + _SIZE):
        if port % 500 == 0:
            continue  # round numbers occur in what is compared, as 15000 ms
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        yield port
