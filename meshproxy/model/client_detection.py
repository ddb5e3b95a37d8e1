"""How the client's address is found where it isn't the connection's
(envoy.extensions.http.original_ip_detection)."""

from __future__ import annotations

from meshproxy.address import CidrSet
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class XffDetection:
    """By X-Forwarded-For (`XffConfig`).

    hops: how many proxies before us wrote an entry each. trusted: in place of that, the addresses of such proxies: the
    last entry that is none of them is the client. appends: the connection's own address is added to the field.
    """

    hops: int = 0
    trusted: CidrSet | None = None
    appends: bool = False


@dataclass(frozen=True, slots=True)
class HeaderDetection:
    """By the field `name` (`CustomHeaderConfig`).

    trusted: the address may make the request an internal one. reject: the status for requests whose field has no
    address; None lets them pass.
    """

    name: str
    trusted: bool = False
    reject: int | None = None


ClientDetection = XffDetection | HeaderDetection
