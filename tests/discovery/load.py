"""Keep-alive clients that ask a listener again and again; a process of its own, so that nobody else's work delays it.

`python -m tests.discovery.load PORT CONNECTIONS SECONDS RATE` prints JSON: how many requests, which of them failed, and
how long they took in milliseconds. A connection that the proxy closes between two requests, as it says in its answer
(`connection: close`), is made anew; that is no failure.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What came of the requests. failures: by what happened."""

    times: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)

    def failed(self, why: str) -> None:
        self.failures[why] = self.failures.get(why, 0) + 1

    def summary(self) -> dict[str, object]:
        """As JSON prints it."""
        times = sorted(self.times) or [0.0]
        at = {name: times[min(len(times) - 1, int(len(times) * share))] for name, share in _SHARES.items()}
        return {
            "requests": len(self.times) + sum(self.failures.values()),
            "failed": sum(self.failures.values()),
            "failures": self.failures,
            **{name: round(value * 1000, 2) for name, value in at.items()},
        }


_SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
_REQUEST = b"GET /load HTTP/1.1\r\nhost: test\r\n\r\n"


async def client(port: int, until: float, pause: float, outcome: Outcome) -> None:
    """One connection after another, one request after another."""
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            if writer is None or reader is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_REQUEST)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or b"0")
            await reader.readexactly(length)
            status = int(head.split()[1])
            if status == 200:
                outcome.times.append(time.monotonic() - began)
            else:
                outcome.failed(str(status))
            if b"connection: close" in head.lower():
                writer.close()
                writer = None
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            outcome.failed(type(error).__name__)
            if writer is not None:
                writer.close()
            writer = None
            await asyncio.sleep(0.01)
        await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))
    if writer is not None:
        writer.close()


async def run(port: int, connections: int, seconds: float, rate: float) -> Outcome:
    """Ask for some seconds, `rate` times a second together."""
    outcome = Outcome()
    until = time.monotonic() + seconds
    clients = []
    for _ in range(connections):
        clients.append(asyncio.ensure_future(client(port, until, connections / rate, outcome)))
        await asyncio.sleep(1.0 / rate)
    await asyncio.gather(*clients)
    return outcome


if __name__ == "__main__":
    _, port, connections, seconds, rate = sys.argv
    print(json.dumps(asyncio.run(run(int(port), int(connections), float(seconds), float(rate))).summary()))
