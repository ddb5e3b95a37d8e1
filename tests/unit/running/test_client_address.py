"""Who the client is, as proxies before us say: what is believed, and what isn't an address."""

from __future__ import annotations

import pytest

from meshproxy.address import CidrRange, CidrSet
from meshproxy.headers import RequestHeaders
from meshproxy.model.client_detection import HeaderDetection, XffDetection
from meshproxy.model.http import HttpConnectionManagerConfig
from meshproxy.model.route import RouteTable
from meshproxy.model.route_slot import RouteSlot
from meshproxy.model.snapshot import Node
from meshproxy.plugin.stream_info import ConnectionInfo
from meshproxy.runtime.downstream.http_client_address import detect_client
from meshproxy.runtime.downstream.http_edge import RequestEdge

TRUSTED = CidrSet((CidrRange.parse("10.0.0.0", 8),))


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("1.1.1.1", "1.1.1.1"),
        ("1.1.1.1, 10.0.0.1,10.0.0.2", "1.1.1.1"),
        ("2.2.2.2, 1.1.1.1, 10.0.0.1", "1.1.1.1"),
        ("10.0.0.3, 10.0.0.1", "10.0.0.3"),
        ("junk, 10.0.0.1", ""),
        ("1.1.1.1, junk", ""),
        ("", ""),
        (",", ""),
    ],
)
def test_the_last_that_is_no_proxy_of_ours(forwarded: str, client: str) -> None:
    request = RequestHeaders(fields=[("x-forwarded-for", forwarded)])
    assert detect_client((XffDetection(trusted=TRUSTED),), request, "10.9.9.9").client == client
    assert detect_client((XffDetection(trusted=TRUSTED),), request, "192.0.2.1").client == ""


def test_the_first_that_finds_one_says_who_it_is() -> None:
    request = RequestHeaders(fields=[("x-forwarded-for", "1.1.1.1"), ("x-a", "junk"), ("x-b", "::2")])
    found = detect_client((HeaderDetection("x-a"), HeaderDetection("x-b", trusted=True), XffDetection()), request, "")
    assert (found.client, found.trusted) == ("::2", True)


def test_a_request_without_an_address_is_refused_where_it_needs_one() -> None:
    request = RequestHeaders(fields=[("x-a", "junk")])
    found = detect_client((HeaderDetection("x-a", reject=401), XffDetection()), request, "")
    assert found.reply is not None
    assert found.reply.status == 401


@pytest.mark.parametrize(("peer", "entry"), [("192.0.2.7:1", "::ffff:192.0.2.7"), ("[2001:db8::1]:1", "2001:db8::1")])
def test_a_peer_of_ipv4_can_be_written_as_ipv6(peer: str, entry: str) -> None:
    config = HttpConnectionManagerConfig(
        "p", RouteSlot(RouteTable("r")), (), use_remote_address=True, shows_ipv4_as_ipv6=True
    )
    info = ConnectionInfo()
    info.remote_address = peer
    request = RequestHeaders()
    RequestEdge(config, Node("n", "c"), "192.0.2.1").mutate(request, info, False)
    assert request["x-forwarded-for"] == entry
