"""Secrets that a management server gives: who gets them, what is refused, and what stays then."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, cast

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from meshproxy.clock import SystemClock
from meshproxy.config.tls.tls_ciphers import DEFAULT_CIPHERS
from meshproxy.config.values.context import CompileContext
from meshproxy.model.discovery import SECRET, ConfigSource, Resource
from meshproxy.model.tls import CommonTls, DownstreamTls, SecretReference, TlsParameters
from meshproxy.plugin.registry import FilterRegistry
from meshproxy.runtime.discovery.secret_discovery import SecretDiscovery
from meshproxy.runtime.discovery.sources import Host, Sink, Sources
from meshproxy.runtime.discovery.unknown_fields import UnknownFields
from meshproxy.runtime.discovery.watch import Hub
from meshproxy.runtime.process.configuration import make_logger
from meshproxy.runtime.tls.slots import ServerSlot, server_slot
from meshproxy.steps import Outcome
from meshproxy.telemetry.formats import Formats
from meshproxy.telemetry.operand import FormatContext
from meshproxy.telemetry.stats import StatsStore
from tests.certificates import Authority, dns

_SOURCE = ConfigSource("ads", initial_fetch_timeout=0.05)


class _Server:
    """A source whose answers the test gives."""

    def __init__(self) -> None:
        self.sinks: dict[tuple[str, ...], Sink] = {}
        self.closed: list[tuple[str, ...]] = []

    def subscribe(self, type_url: str, names: Sequence[str], sink: Sink) -> Any:
        assert type_url == SECRET
        self.sinks[tuple(names)] = sink
        server = self

        class Subscription:
            def close(self) -> None:
                server.closed.append(tuple(names))

        return Subscription()

    def pause(self, *type_urls: str) -> Any:
        raise NotImplementedError  # nothing here pauses

    def describe(self) -> dict[str, Any]:
        return {}

    def close(self) -> None: ...

    def send(self, name: str, chain: bytes, key: bytes, version: str) -> Outcome:
        message = secret_pb2.Secret(name=name)
        message.tls_certificate.certificate_chain.inline_bytes = chain
        message.tls_certificate.private_key.inline_bytes = key
        return self.sinks[(name,)].update([Resource(name, version, message)], (), full=False, version=version)


class _Target:
    def __init__(self) -> None:
        self.told: list[str] = []

    def set_secret(self, name: str, message: Any) -> None:
        self.told.append(name)


class _Rig:
    def __init__(self) -> None:
        self.server = _Server()
        self.store = StatsStore()
        rng = random.Random(1)
        log, stats = make_logger("test"), self.store.scope("")
        unknown = UnknownFields(stats.counter("server.dynamic_unknown_fields"), log)
        host = Host(asyncio.get_running_loop(), SystemClock(), rng, log, None, {}, stats, unknown)
        context = CompileContext(
            FilterRegistry({}),
            self.store.scope(""),
            make_logger,
            SystemClock(),
            rng,
            Formats(FormatContext(hostname="h")),
        )
        hub = Hub(host, Sources(host, lambda config, host: self.server))
        self.target = _Target()
        self.secrets = SecretDiscovery(hub, context, cast("Any", self.target))
        self.waits: list[str] = []

    def wait(self, text: str) -> Any:
        self.waits.append(text)
        return lambda: self.waits.remove(text)


def _slot(*names: str) -> ServerSlot:
    references = tuple(SecretReference(name, source=_SOURCE) for name in names)
    parameters = TlsParameters("TLSv1_2", "TLSv1_3", DEFAULT_CIPHERS)
    return server_slot(DownstreamTls(CommonTls(parameters, certificates=references)))


async def test_a_secret_reaches_everyone_who_waits_for_it() -> None:
    rig, authority = _Rig(), Authority("Root")
    issued = authority.issue("", dns("a.example"))
    first, second = _slot("default"), _slot("default")
    rig.secrets.acquire([first], rig.wait)
    rig.secrets.acquire([second], rig.wait)
    assert rig.waits == ["secret 'default'"] * 2
    assert first.generation is None
    assert rig.server.send("default", issued.pem, issued.key_pem, "1") == {}
    assert rig.waits == []
    assert first.generation is not None
    assert second.generation is not None
    assert rig.target.told == ["default"]
    late = _slot("default")
    rig.secrets.acquire([late], rig.wait)
    assert late.generation is not None
    assert rig.store.counter("sds.default.update_success").value == 1


async def test_a_secret_that_nobody_can_use_is_refused_and_the_former_stays() -> None:
    rig, authority = _Rig(), Authority("Root")
    good, other = authority.issue("", dns("a.example")), authority.issue("", dns("b.example"))
    slot = _slot("default")
    rig.secrets.acquire([slot], rig.wait)
    rig.server.send("default", good.pem, good.key_pem, "1")
    before = slot.generation
    errors = rig.server.send("default", good.pem, other.key_pem, "2")
    assert list(errors) == ["default"]
    assert slot.generation is before
    assert rig.store.counter("sds.default.update_rejected").value == 1
    assert slot.provisions == 1
    assert rig.server.send("default", other.pem, other.key_pem, "3") == {}
    assert slot.generation is not before


async def test_a_secret_that_comes_again_changes_nothing_but_its_version() -> None:
    rig, issued = _Rig(), Authority("Root").issue("", dns("a.example"))
    slot = _slot("default")
    rig.secrets.acquire([slot], rig.wait)
    rig.server.send("default", issued.pem, issued.key_pem, "1")
    before = slot.generation
    assert rig.server.send("default", issued.pem, issued.key_pem, "2") == {}
    assert slot.generation is before
    assert rig.target.told == ["default"]
    assert [provider.resource.version for provider in rig.secrets.providers.values() if provider.resource] == ["2"]
    assert rig.store.counter("sds.default.update_success").value == 2


async def test_a_secret_that_does_not_come_holds_nothing_up_for_ever() -> None:
    rig = _Rig()
    slot = _slot("never")
    rig.secrets.acquire([slot], rig.wait)
    await asyncio.sleep(0.1)
    assert rig.waits == []
    assert slot.generation is None
    assert rig.store.counter("sds.never.init_fetch_timeout").value == 1


async def test_the_last_user_ends_the_subscription() -> None:
    rig = _Rig()
    first, second = _slot("default"), _slot("default")
    rig.secrets.acquire([first, second], rig.wait)
    rig.secrets.acquire([first], rig.wait)
    rig.secrets.release([first, second])
    assert rig.server.closed == []
    rig.secrets.release([first])
    assert rig.server.closed == [("default",)]
