"""The raw HTTP/1 cases of tests/data/http1 and what Envoy 1.40 did with them."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[2] / "data" / "http1"


@dataclass(frozen=True)
class Case:
    id: str
    raw: bytes
    eof: bool
    method: str
    verdict: str
    upstream: list[dict[str, Any]]


def cases(name: str) -> list[Case]:
    found = []
    for line in (DATA / name).read_text().splitlines():
        case = json.loads(line)
        raw = case["raw"]
        data = raw.encode("latin-1") if case["enc"] == "latin-1" else zlib.decompress(base64.b64decode(raw))
        eof = bool(case.get("eof") or case.get("close"))
        method = case.get("request", "GET").partition(" ")[0]
        envoy = case["envoy"]
        found.append(Case(case["id"], data, eof, method, envoy["verdict"], envoy["upstream"]))
    return found
