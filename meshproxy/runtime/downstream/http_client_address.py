"""Finding the client's address in what proxies before us wrote (Envoy: "Original IP detection").

Everything here reads what a peer sent: an entry that isn't an address ends the search.
"""

from __future__ import annotations

from meshproxy.address import CidrSet, canonical_ip
from meshproxy.headers import RequestHeaders
from meshproxy.model.client_detection import ClientDetection, HeaderDetection, XffDetection
from meshproxy.plugin.replies import LocalReply
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class Detected:
    """client: its address, "" if none was found. trusted: it may make the request an internal one.

    appended: how often the peer's address is to be added to X-Forwarded-For. reply: the request is refused with it.
    """

    client: str = ""
    trusted: bool = False
    appended: int = 0
    reply: LocalReply | None = None


def detect_client(detections: tuple[ClientDetection, ...], request: RequestHeaders, peer: str) -> Detected:
    """Ask one after the other, until one finds an address. peer: the other end of the connection."""
    appended = 0
    forwarded = request.get("x-forwarded-for")
    for detection in detections:
        if isinstance(detection, HeaderDetection):
            client = _address(request.fields.get(detection.name, ""))
            trusted = detection.trusted
            if not client and detection.reject is not None:
                return Detected(reply=LocalReply(detection.reject, details="rejecting because detection failed"))
        else:
            client, appends = _by_xff(detection, forwarded, peer)
            trusted = forwarded is not None and "," not in forwarded
            appended += appends
        if client:
            return Detected(client, trusted, appended)
    return Detected(appended=appended)


def _by_xff(detection: XffDetection, forwarded: str | None, peer: str) -> tuple[str, bool]:
    if detection.trusted is None:
        return nth_from_end(forwarded, detection.hops), detection.appends
    if peer not in detection.trusted:
        return "", True  # as Envoy, which appends then, whatever the configuration says
    return _last_untrusted(forwarded, detection.trusted), detection.appends


def _last_untrusted(forwarded: str | None, trusted: CidrSet) -> str:
    """The last address that isn't one of `trusted`, or the first of all when each is."""
    last = ""
    for entry in reversed((forwarded or "").split(",")):
        address = _address(entry)
        if not address:
            return ""
        last = address
        if address not in trusted:
            return address
    return last


def nth_from_end(forwarded: str | None, position: int) -> str:
    """The address at `position` from the end of X-Forwarded-For; "" when there is none or it isn't one."""
    if not forwarded:
        return ""
    entries = forwarded.split(",")
    return _address(entries[-1 - position]) if position < len(entries) else ""


def _address(text: str) -> str:
    try:
        return canonical_ip(text.strip(" "))
    except ValueError:
        return ""
