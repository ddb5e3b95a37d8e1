"""A table is checked as if every virtual host in it were new, whatever was checked before."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import any_pb2

from meshproxy.config.text.checked_routes import CheckedHosts
from meshproxy.model.discovery import ROUTES
from meshproxy.runtime.discovery.decoder import decode_resource
from meshproxy.steps import finish
from meshproxy.xds.watch import DecodeError
from tests.discovery.resources import routes


def test_known_hosts_are_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, table = CheckedHosts(), routes("r", "c", a="b")
    assert finish(hosts.check(table)) is True
    checked: list[Any] = []

    def noted(message: Any) -> tuple[list[Any], bool]:
        checked.append(message)
        return [], True

    monkeypatch.setattr("meshproxy.config.text.checked_routes.check_unpacked", noted)
    table.virtual_hosts.add().CopyFrom(routes("r", "d").virtual_hosts[0])
    assert finish(hosts.check(table)) is True
    assert [message.DESCRIPTOR.name for message in checked] == ["RouteConfiguration", "VirtualHost"]
    assert not checked[0].virtual_hosts


def test_what_is_packed_inside_stays_unchecked() -> None:
    hosts, table = CheckedHosts(), routes("r", "c")
    table.virtual_hosts[0].typed_per_filter_config["f"].CopyFrom(any_pb2.Any(type_url="type.googleapis.com/a.B"))
    assert finish(hosts.check(table)) is False
    assert finish(hosts.check(table)) is False


def test_fault_in_a_host_or_beside_is_named_with_its_place() -> None:
    good = routes("r", "c")
    decode_resource(ROUTES, good.SerializeToString())
    bad = routes("r", "c")
    bad.virtual_hosts.add(name="empty")  # a virtual host needs a domain
    for _ in range(2):
        with pytest.raises(DecodeError, match=r"virtual_hosts\[1\]"):
            decode_resource(ROUTES, bad.SerializeToString())
    bad = routes("r", "c")
    bad.request_headers_to_add.add()
    with pytest.raises(DecodeError, match="request_headers_to_add"):
        decode_resource(ROUTES, bad.SerializeToString())
