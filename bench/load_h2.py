"""h2load: one bounded load over HTTP/2. Paths differ; the fields that a mesh adds are on every request."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.client import BenchError
from bench.load import Seen, outputs

STREAMS = 10
PATHS = 500
UPLOAD = 256 * 1024
LARGE = frozenset({"h2-large", "h2-upload"})
KINDS = LARGE | {"h2", "grpc"}
FIELDS = (
    ":authority: shop.default.svc.cluster.local",
    "user-agent: frontend/1.14.2 (linux; x86_64)",
    "accept: application/json",
    "accept-encoding: gzip, deflate",
    "x-forwarded-proto: http",
    "x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124",
    "x-b3-spanid: a2fb4a1d1a96d312",
    "x-b3-sampled: 0",
)
AREAS = ("cart", "catalogue", "checkout", "email", "payment", "product", "search")
_requests = re.compile(r"(?m)^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout").search
_answers = re.compile(r"(?m)^status codes: (\d+) 2xx, (\d+) 3xx").search


def h2load_path() -> str:
    found = shutil.which("h2load")
    if found is None:
        raise BenchError("h2load makes the load of HTTP/2, and it isn't installed: apt-get install nghttp2-client")
    return found


def run(ports: Sequence[int], connections: int, seconds: int, seed: int, kind: str) -> list[Seen]:
    """Load each of `ports`, all at once, for `seconds` with `STREAMS` requests on each connection (two large ones).

    kind: "h2", short answers; "grpc", unary calls, a message of 64 bytes each; "h2-large", a mebibyte of answer;
        "h2-upload", bodies of 256 KiB.

    Raises BenchError when one fails, or completes no request.
    """
    with tempfile.TemporaryDirectory(prefix="meshproxy-h2load-") as directory:
        length = ("-D", str(seconds))
        started = [_start(Path(directory), port, connections, length, seed, kind) for port in ports]
        printed = outputs([one for one, _ in started], seconds)
        return [_read(output, log, seconds) for output, (_, log) in zip(printed, started, strict=True)]


def start_counted(directory: Path, port: int, connections: int, count: int, kind: str) -> subprocess.Popen[str]:
    """The same load on one port, of `count` requests; the caller waits for its end."""
    started, _ = _start(directory, port, connections, ("-n", str(count)), 1, kind)
    return started


def _start(
    directory: Path, port: int, connections: int, length: tuple[str, str], seed: int, kind: str
) -> tuple[subprocess.Popen[str], Path]:
    rng = random.Random(seed)
    urls = directory / f"{port}.urls"
    base = f"http://127.0.0.1:{port}"
    if kind == "h2-large":
        paths = ["large"]
    elif kind == "grpc":
        paths = [f"grpc.Shop/{rng.choice(AREAS)}{rng.randrange(10**8)}" for _ in range(PATHS)]
    else:
        paths = [f"{rng.choice(AREAS)}/items/{rng.randrange(10**8)}?page={rng.randrange(13)}" for _ in range(PATHS)]
    urls.write_text("".join(f"{base}/{path}\n" for path in paths))
    log = directory / f"{port}.log"
    fields = [option for field in FIELDS for option in ("-H", field)]
    size = [
        "-t1",
        f"-c{connections}",
        f"-m{2 if kind in LARGE else STREAMS}",
        *length,
        "-i",
        str(urls),
        f"--log-file={log}",
    ]
    command = [h2load_path(), *size, *fields]
    message = directory / "message"
    if kind == "grpc":
        message.write_bytes(b"\0\0\0\0\x40" + b"m" * 64)
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"--data={message}"]
    elif kind == "h2-upload":
        message.write_bytes(bytes(UPLOAD))
        command.append(f"--data={message}")
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True), log


def _read(output: str, log: Path, seconds: int) -> Seen:
    requests, answers = _requests(output), _answers(output)
    if requests is None or answers is None or not int(requests[1]):
        raise BenchError(f"h2load failed: {output}")
    times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines() if line.count("\t") == 2)
    if not times:
        raise BenchError(f"h2load kept no times: {output}")
    done = int(requests[1])
    return Seen(
        requests=done,
        seconds=float(seconds),
        p50_ms=times[len(times) // 2] / 1000,
        p99_ms=times[len(times) * 99 // 100] / 1000,
        # An answer counts with its head: at the end some have begun and aren't done.
        errors=sum(int(requests[i]) for i in (2, 3, 4)) + max(0, done - int(answers[1]) - int(answers[2])),
    )
