"""wrk: one bounded load, and what it saw."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.client import BenchError

SCRIPT = Path(__file__).with_name("requests.lua")


@dataclass(frozen=True, slots=True)
class Seen:
    """A load as the client saw it; `errors` counts answers that weren't 2xx or 3xx, and broken connections."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int


def wrk_path() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise BenchError("wrk makes the load, and it isn't installed: apt-get install wrk (Debian, Ubuntu)")
    return found


def outputs(started: Sequence[subprocess.Popen[str]], seconds: int) -> list[str]:
    """What the programs of a load of `seconds` print until they end; none is left running.

    Raises BenchError for one that doesn't end in time.
    """
    try:
        return [one.communicate(timeout=seconds + 15)[0] for one in started]
    except subprocess.TimeoutExpired as late:
        raise BenchError(f"{late.cmd} did not end within {seconds + 15} s") from late
    finally:
        for one in started:
            if one.poll() is None:
                one.kill()
                one.wait()


def run(
    ports: Sequence[int],
    connections: int,
    kind: str,
    seconds: int,
    seed: int,
    tokens: Path | None = None,
    scheme: str = "http",
) -> list[Seen]:
    """Load each of `ports`, all at once, for `seconds` with `kind` of requests (see requests.lua).

    tokens: a file with a bearer token for each user, a line each; without one they are made up.
    wrk runs on the caller's CPU. Raises BenchError when one fails, or completes no request.
    """
    arguments = [kind, str(seed), *([str(tokens)] if tokens is not None else [])]
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", str(SCRIPT)]
    started = [
        subprocess.Popen(
            [wrk_path(), *options, f"{scheme}://127.0.0.1:{port}/", "--", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for port in ports
    ]
    return [_read(output) for output in outputs(started, seconds)]


def _read(output: str) -> Seen:
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise BenchError(f"wrk failed: {output}")
    result: dict[str, int] = json.loads(line.removeprefix("RESULT "))
    if not result["requests"]:
        raise BenchError(f"no request was answered: {output}")
    errors = sum(result[key] for key in ("connect_errors", "read_errors", "write_errors", "status_errors", "timeouts"))
    return Seen(
        requests=result["requests"],
        seconds=result["duration_us"] / 1e6,
        p50_ms=result["p50_us"] / 1000,
        p99_ms=result["p99_us"] / 1000,
        errors=errors,
    )
