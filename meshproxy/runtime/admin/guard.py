"""Who may talk to the admin interface through a browser that someone else commands: nobody.

There is no password, so whoever reaches the address may do everything. A browser on the same machine reaches it on
behalf of any web page it shows. Two things give such a page away: DNS rebinding needs a host name of the attacker's in
`Host`, and a form or script of a foreign page carries its `Origin` (or `Referer`). Both are refused; Envoy refuses
neither. A name without a dot, or in a zone that no registry sells, is nobody's but the network's: whatever scrapes
`envoy:9901` or `web.default.svc.cluster.local` is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from meshproxy.address import is_ip

_OWN_ZONES = tuple(f".{zone}" for zone in ("localhost", "local", "internal", "svc", "localdomain", "home.arpa", "test"))
"""RFC 2606, 6761, 6762 and 8375, ICANN's `internal`, and what Kubernetes calls services."""


def split_host(authority: str) -> str:
    """The host of `host:port`, without the brackets of IPv6, in lower case."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    host, colon, _ = authority.rpartition(":")
    return (host if colon else authority).lower()


def refusal(authority: str, fields: Mapping[str, str], mutates: bool, allowed: frozenset[str]) -> str | None:
    """Why a request is refused, or None.

    authority: its Host field. allowed: host names that are accepted beside `localhost` and IP addresses.
    """
    host = split_host(authority)
    if not _is_ours(host, allowed):
        return (
            f"the admin interface isn't served under the host name '{host}'; use localhost or an IP address "
            "(a web page may have been given our address under its own name)\n"
        )
    if mutates:
        for name in ("origin", "referer"):
            value = fields.get(name)
            if value is not None and not _same_site(value, authority):
                return f"a request from another site ({name}: {value}) can't change anything here\n"
        if fields.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "a request from another site can't change anything here\n"
    return None


def _is_ours(host: str, allowed: frozenset[str]) -> bool:
    private = "." not in host or host.endswith(_OWN_ZONES)
    return bool(host) and (private or host in allowed or is_ip(host))


def _same_site(url: str, authority: str) -> bool:
    try:
        return urlsplit(url).netloc.lower() == authority.lower()
    except ValueError:
        return False
