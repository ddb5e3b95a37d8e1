"""The gates, each a function from what was seen to a list of complaints.

- What the RFC refuses and Envoy refuses is refused. What Envoy refuses may pass only where the RFC allows it.
- What the RFC accepts and Envoy forwards is forwarded. What is forwarded is read as Envoy reads it.
- No malformed byte leaves on either side. Nobody waits for an answer that never comes, unless the message never ended.
- A probe behind a bad answer gets its own answer, or an error of the proxy's.
"""

from __future__ import annotations

from ..parity.transcript import Transcript
from ..parity.wire import Message, WireReader
from .corpus import Entry


def request_verdict(seen: Transcript) -> str:
    """In the words of the corpus: forwarded, rejected N, closed, hang; with `partial` for half a request upstream."""
    complete, partial = _upstream(seen)
    statuses = final_statuses(seen.clients["client 1"])
    if complete and 200 in statuses:
        return "forwarded"
    if partial:
        return "partial+hang" if seen.ends["client 1"] == "open" and not statuses else "partial+closed"
    if statuses:
        return f"rejected {statuses[0]}"
    return "hang" if seen.ends["client 1"] == "open" else "closed"


def _upstream(seen: Transcript) -> tuple[list[Message], list[Message]]:
    messages = [message for reader in seen.upstreams["up"] for message in reader.messages]
    return [m for m in messages if m.complete], [m for m in messages if not m.complete]


def final_statuses(reader: WireReader) -> list[int]:
    return [message.status for message in reader.messages if message.status >= 200 or message.status == 101]


def emitted(seen: Transcript) -> list[str]:
    """Malformed bytes, on either side. A message cut short when its other side fails is not malformed."""
    readers = [*seen.clients.values(), *seen.upstreams["up"]]
    return [each for reader in readers for each in reader.anomalies if not each.startswith("ends inside")]


def judge_request(entry: Entry, seen: Transcript) -> list[str]:
    if seen.error:
        return [seen.error]
    verdict, complaints = request_verdict(seen), emitted(seen)
    complete, _ = _upstream(seen)
    wanted = entry.envoy["upstream"]
    if entry.rfc == "reject" and len(complete) > len(wanted):
        complaints.append(f"{len(complete)} requests went upstream, with Envoy {len(wanted)}")
    if entry.rfc == "accept" and entry.envoy["verdict"] == "forwarded" and verdict != "forwarded":
        complaints.append(f"a valid request that Envoy forwards: {verdict}")
    if "hang" in verdict and "hang" not in entry.envoy["verdict"]:
        complaints.append(f"{verdict}, with Envoy {entry.envoy['verdict']}")
    for ours, envoys in zip(complete, wanted, strict=False):
        target = ours.start.split(" ")[1][: len(envoys["target"])]  # the corpus keeps the beginning of a long one
        mine = {"method": ours.method, "target": target, "body_len": len(ours.body)}
        theirs = {key: envoys[key] for key in mine}
        if mine != theirs:
            complaints.append(f"upstream saw {mine}, with Envoy {theirs}")
    return complaints


def response_verdict(seen: Transcript) -> str:
    reader = seen.clients["client 1"]
    finals = [message for message in reader.messages if message.status >= 200]
    if not finals:
        return "hang" if seen.ends["client 1"] == "open" else "closed"
    if not finals[0].complete:
        return f"aborted {finals[0].status}" if seen.ends["client 1"] != "open" else "hang"
    own = finals[0].status in (502, 503, 504) and b"upstream connect error" in finals[0].body
    return f"{'error' if own else 'passed'} {finals[0].status}"


def judge_response(entry: Entry, seen: Transcript) -> list[str]:
    if seen.error:
        return [seen.error]
    verdict, envoys = response_verdict(seen), entry.envoy["verdict"]
    complaints = emitted(seen) + poisoned(seen)
    if entry.rfc == "reject" and verdict.startswith("passed") and not envoys.startswith("passed"):
        complaints.append(f"{verdict}, with Envoy {envoys}")
    if entry.rfc == "accept" and envoys.startswith("passed") and not verdict.startswith("passed"):
        complaints.append(f"a valid answer that Envoy passes: {verdict}")
    early = entry.id.startswith("r-early")  # there the corpus's upstream answered after the body, ours before it
    if verdict.startswith("passed") and envoys.startswith("passed") and verdict != envoys and not early:
        complaints.append(f"{verdict}, with Envoy {envoys}")
    if verdict == "hang" and envoys != "hang":
        complaints.append(f"hang, with Envoy {envoys}")
    return complaints


def poisoned(seen: Transcript) -> list[str]:
    """Whether the second client got anything but its own answer or an error of the proxy's own."""
    reader = seen.clients["client 2"]
    if reader.anomalies or len(reader.messages) > 1:
        return [f"the probe got {[m.start for m in reader.messages]} {reader.anomalies}"]
    if not reader.messages:
        return ["the probe got no answer"]
    (message,) = reader.messages
    if message.status == 200 and bytes(message.body) == b"probe" and message.values("x-probe"):
        return []
    if message.status in (502, 503, 504) and message.body.startswith(b"upstream connect error"):
        return []
    if message.status == 403 and not message.body:
        return []
    return [f"the probe got {message.start} {bytes(message.body[:40])!r}"]
