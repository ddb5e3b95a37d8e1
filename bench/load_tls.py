"""openssl s_time: full mutual handshakes one after the other, each with a request of HTTP/1.0 behind it.

Both proxies refuse HTTP/1.0 with 426 and close, so what is measured is the handshake and a small answer.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.client import BenchError
from bench.load import Seen, outputs

_done = re.compile(r"(?m)^(\d+) connections in (\d+) real seconds").search


def run(ports: Sequence[int], at_once: int, seconds: int, certificates: Path) -> list[Seen]:
    """Load each of `ports`, all at once, for `seconds` with `at_once` clients. Raises BenchError when one fails."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise BenchError("openssl makes the handshakes, and it isn't installed")
    files = ["-cert", str(certificates / "client.pem"), "-key", str(certificates / "client.key")]
    files += ["-CAfile", str(certificates / "ca.pem")]
    started = [
        [
            subprocess.Popen(
                [
                    openssl,
                    "s_time",
                    "-connect",
                    f"127.0.0.1:{port}",
                    "-new",
                    "-time",
                    str(seconds),
                    "-www",
                    "/",
                    *files,
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(at_once)
        ]
        for port in ports
    ]
    printed = outputs([one for those in started for one in those], seconds)
    return [_sum(printed[at : at + at_once], seconds) for at in range(0, len(printed), at_once)]


def _sum(outputs: list[str], seconds: int) -> Seen:
    counts = []
    for output in outputs:
        found = _done(output)
        if found is None or not int(found[1]):
            raise BenchError(f"openssl failed: {output}")
        counts.append(int(found[1]))
    each = seconds * 1000 * len(counts) / sum(counts)
    return Seen(requests=sum(counts), seconds=float(seconds), p50_ms=each, p99_ms=each, errors=0)
