"""`stream_client`: loads of messages, small frames and slow clients, and what it saw."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from bench.client import BenchError
from bench.load import Seen, outputs
from bench.stream_client import KINDS as KINDS


def run(ports: Sequence[int], connections: int, seconds: int, kind: str) -> list[Seen]:
    """Load each of `ports`, all at once, for `seconds`. Raises BenchError when one fails, or no message comes back."""
    command = [sys.executable, "-m", "bench.stream_client", kind]
    started = [
        subprocess.Popen([*command, str(port), str(connections), str(seconds)], stdout=subprocess.PIPE, text=True)
        for port in ports
    ]
    return [_read(output, seconds) for output in outputs(started, seconds)]


def _read(output: str, seconds: int) -> Seen:
    seen = json.loads(output or "{}")
    if not seen.get("messages"):
        raise BenchError(f"no message came back: {output}")
    return Seen(seen["messages"], float(seconds), seen["p50_ms"], seen["p99_ms"], seen["errors"])
