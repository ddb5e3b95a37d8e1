"""What one program did in one case, as text that can be compared: normalised, section by section."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .case import Case
from .wire import H2Wire, Message, WireReader

TOLERANCE_S = 0.45
"""How far two programs' times may lie apart: less than half of the second that delayed close takes."""

_MASKS = (
    (re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"), "<date>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b"), r"<uuid \1>"),
    (re.compile(r"(?i)(x-envoy-upstream-service-time:) \d+"), r"\1 <ms>"),
    (re.compile(r"((?:dur|upd|reqd|respd)=)\d+"), r"\1<ms>"),
    (re.compile(r": (P0\(.*|No recorded values)$"), ": <histogram>"),  # recorded each 5 s: chance decides
)
_ADDRESS = re.compile(r"(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\]):(\d{2,5})(?!\d)")
_NUMBER = re.compile(r"(?<![\d.:])(?<!timeout-ms: )(\d{4,5})(?!\d|\.\d)")  # what is left of 15 s may look like a port


def node_addresses() -> tuple[str, ...]:
    """The machine's own non-loopback addresses, which Envoy puts into X-Forwarded-For for a loopback peer."""
    found = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # no packet leaves: this only asks the routing table
            found.add(probe.getsockname()[0])
        except OSError:
            pass
    return tuple(address for address in found if not address.startswith("127.") and address != "::1")


NODE_ADDRESSES = node_addresses()


@dataclass(frozen=True, slots=True)
class Normaliser:
    """Replaces what differs from run to run. ports: number -> name."""

    ports: Mapping[int, str]
    directory: str
    masks: Sequence[tuple[str, str]] = ()

    def __call__(self, text: str) -> str:
        text = text.replace(self.directory, "<dir>")
        for address in NODE_ADDRESSES:
            text = text.replace(address, "<node-ip>")
        for pattern, replacement in _MASKS:
            text = pattern.sub(replacement, text)
        text = _ADDRESS.sub(self._address, text)
        text = _NUMBER.sub(lambda found: self.ports.get(int(found[1]), found[1]), text)
        for rule, replacement in self.masks:
            text = re.sub(rule, replacement, text)
        return text

    def _address(self, found: re.Match[str]) -> str:
        port = int(found[2])
        return f"{found[1]}:{self.ports.get(port) or ('<ephemeral>' if port >= 32768 else port)}"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long something took, and how much of that the program and the tests may have waited for a CPU; seconds."""

    seconds: float
    waited: float = 0.0

    def agrees(self, other: Timing) -> bool:
        return abs(self.seconds - other.seconds) <= TOLERANCE_S + self.waited + other.waited

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s" + (f", {self.waited:.2f} s of it without a CPU" if self.waited > 0.05 else "")


@dataclass(slots=True)
class Transcript:
    """sections: name -> lines. timings: name -> how long. error: why the case could not run at all.

    clients, upstreams: what the lines were made of, for a judge that asks more than whether two runs are alike.
    """

    sections: dict[str, list[str]] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    error: str = ""
    clients: dict[str, WireReader] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    upstreams: dict[str, list[WireReader | H2Wire]] = field(default_factory=dict)

    def text(self) -> str:
        lines = [f"error: {self.error}"] if self.error else []
        for name, section in self.sections.items():
            lines += [f"--- {name}", *("    " + line for line in section)]
        lines += [f"--- {name}: {timing}" for name, timing in self.timings.items()]
        return "\n".join(lines)


def show_body(body: bytes) -> str:
    if len(body) <= 2000:
        return repr(body.decode("latin-1"))
    return f"{body[:40].decode('latin-1')!r}... {len(body)} bytes, sha1 {hashlib.sha1(body).hexdigest()[:12]}"


def show_message(message: Message, body: str | None = None) -> list[str]:
    lines = [message.start, *("  " + line for line in message.headers)]
    if message.framing == "chunked" or message.body:
        lines.append(f"  [{message.framing}] {body if body is not None else show_body(bytes(message.body))}")
    lines += ["  trailer " + line for line in message.trailers]
    lines += [f"  [{note}]" for note in message.notes]
    if not message.complete:
        lines.append("  [incomplete]")
    return lines


def show_wire(reader: WireReader | H2Wire, view: Callable[[bytes], str] | None = None) -> list[str]:
    lines: list[str] = []
    for message in reader.messages:
        lines += show_message(message, view(bytes(message.body)) if view is not None else None)
    if reader.raw:
        lines.append(f"[raw] {show_body(bytes(reader.raw))}")
    return lines + [f"ANOMALY {anomaly}" for anomaly in reader.anomalies]


def shape(text: str) -> str:
    """JSON with every leaf replaced by its type: what an admin answer looks like, whoever it speaks of."""

    def reduced(node: object) -> object:
        if isinstance(node, dict):
            return {key: reduced(node[key]) for key in sorted(node)}
        if isinstance(node, list):
            return [reduced(node[0])] if node else []
        return type(node).__name__

    return json.dumps(reduced(json.loads(text)), indent=1)


def differences(case: Case, ours: Transcript, envoys: Transcript) -> dict[str, list[str]]:
    """Section -> unified diff, `-` what Envoy did and `+` what meshproxy did. Empty when they agree."""
    found: dict[str, list[str]] = {}
    if case.refused:
        return {} if ours.error and envoys.error else {"error": [f"-{envoys.error}", f"+{ours.error}"]}
    if ours.error or envoys.error:
        return {"error": [f"-{envoys.error}", f"+{ours.error}"]}
    for name in dict.fromkeys([*envoys.sections, *ours.sections]):
        left, right = envoys.sections.get(name, []), ours.sections.get(name, [])
        if left != right:
            found[name] = list(difflib.unified_diff(left, right, n=50, lineterm=""))[3:]
    for name in dict.fromkeys([*envoys.timings, *ours.timings]):
        before, after = envoys.timings.get(name), ours.timings.get(name)
        if before is None or after is None or not before.agrees(after):
            found[name] = [f"-{before}", f"+{after}"]
    return found
