"""The cases of tests/data/http1, as cases of the parity runner.

A request case is sent in one write (or in its `parts`) to a strict recording upstream. A response case is what the
upstream answers to one client, followed by a probe from a second client on the same upstream: nothing of the first
answer may reach it.
"""

from __future__ import annotations

import base64
import itertools
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..parity.case import Act, Case, Client, Op, Upstream

DATA = Path(__file__).parent.parent / "data" / "http1"
PROBE = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-probe: 1\r\n\r\nprobe"
QUIET_S = 1.5


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the corpus. rfc: reject, accept or either. envoy: what Envoy 1.40 did."""

    id: str
    note: str
    rfc: str
    raw: bytes
    envoy: dict[str, Any]
    row: dict[str, Any]


def load(name: str) -> dict[str, Entry]:
    """Id -> entry, of `requests` or `responses`."""

    def entries() -> Iterator[Entry]:
        for line in (DATA / f"{name}.jsonl").read_text().splitlines():
            row = json.loads(line)
            raw = (
                zlib.decompress(base64.b64decode(row["raw"]))
                if row["enc"] == "zlib64"
                else row["raw"].encode("latin-1")
            )
            yield Entry(row["id"], row["note"], row["rfc"], raw, row["envoy"], row)

    return {entry.id: entry for entry in entries()}


def request_case(entry: Entry) -> Case:
    ends = [0, *entry.row.get("parts", []), len(entry.raw)]
    ops: list[Op] = []
    for start, end in itertools.pairwise(ends):
        ops += [entry.raw[start:end], 0.003] if len(ends) > 2 else [entry.raw[start:end]]
    if entry.row.get("eof"):
        ops.append(Act.HALF_CLOSE)
    return Case(entry.id, tuple(ops), quiet=QUIET_S, area="requests")


def response_case(entry: Entry) -> Case:
    script: tuple[Op, ...] = (entry.raw, *((0.1, Act.CLOSE) if entry.row["close"] else ()))
    early = entry.id.startswith("r-early")
    probe = b"GET /probe HTTP/1.1\r\nHost: a.example\r\n\r\n"
    return Case(
        entry.id,
        clients=(
            Client((entry.row["request"].encode("latin-1"),), quiet=QUIET_S),
            Client((probe,), start=0.6, quiet=1.0),
        ),
        upstreams={"up": Upstream((script,), at="head" if early else "complete", probe=(PROBE,))},
        area="responses",
    )
