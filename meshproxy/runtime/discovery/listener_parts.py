"""What a listener needs from elsewhere, and what of it stays when it is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from meshproxy.address import Address, SocketAddress
from meshproxy.model.http import HttpConnectionManagerConfig
from meshproxy.model.listener import FilterChain, FilterSpec, Listener

_CHAIN_FIELDS = ("filter_chains", "default_filter_chain")


def chains_of(listener: Listener) -> list[FilterChain]:
    """Its filter chains, the default one last."""
    default = listener.default_filter_chain
    return [*listener.filter_chains, *((default,) if default is not None else ())]


def managers_of(listener: Listener) -> Iterator[HttpConnectionManagerConfig]:
    """Its HTTP connection managers."""
    for chain in chains_of(listener):
        for spec in chain.filters:
            if isinstance(spec.config, HttpConnectionManagerConfig):
                yield spec.config


def specs_of(listener: Listener) -> Iterator[FilterSpec]:
    """Its filters of all three kinds."""
    yield from listener.listener_filters
    for chain in chains_of(listener):
        yield from chain.filters
    for manager in managers_of(listener):
        yield from manager.http_filters
        for upgrade in manager.upgrades.values():
            yield from upgrade.filters or ()


def only_chains_differ(before: Any, after: Any) -> bool:
    """Whether two `Listener` messages are the same but for their filter chains: then the listener needn't drain."""
    stripped = []
    for message in (before, after):
        copy = type(message)()
        copy.CopyFrom(message)
        for field in _CHAIN_FIELDS:
            copy.ClearField(field)
        stripped.append(copy.SerializeToString(deterministic=True))
    return bool(stripped[0] == stripped[1])


def keep_chains(before: Listener, before_message: Any, after: Listener, after_message: Any) -> Listener:
    """`after` with those chains of `before` whose messages are the same."""
    known = {
        message.SerializeToString(deterministic=True): chain
        for message, chain in zip(_chain_messages(before_message), chains_of(before), strict=True)
    }

    def kept(message: Any, chain: FilterChain) -> FilterChain:
        same = known.get(message.SerializeToString(deterministic=True))
        if same is None:
            return chain
        if chain.scope is not None:
            chain.scope.close()
        return same

    chains = [
        kept(message, chain) for message, chain in zip(_chain_messages(after_message), chains_of(after), strict=True)
    ]
    if after.default_filter_chain is None:
        return replace(after, filter_chains=tuple(chains))
    return replace(after, filter_chains=tuple(chains[:-1]), default_filter_chain=chains[-1])


def _chain_messages(message: Any) -> list[Any]:
    default = [message.default_filter_chain] if message.HasField("default_filter_chain") else []
    return [*message.filter_chains, *default]


def listening_on(listener: Listener) -> tuple[Address, ...]:
    """The addresses that it binds; none for one that only takes connections handed over."""
    return (listener.address, *listener.additional_addresses) if listener.bind_to_port else ()


def collides(first: Listener, second: Listener) -> Address | None:
    """An address that both bind."""
    for address in listening_on(first):
        if isinstance(address, SocketAddress) and address.port == 0:
            continue
        if address in listening_on(second):
            return address
    return None


def can_inherit(heir: Listener, before: Listener) -> bool:
    """Whether the sockets of `before` are what `heir` would open."""
    return bool(listening_on(heir)) and _socket_facts(heir) == _socket_facts(before)


def _socket_facts(listener: Listener) -> tuple[Any, ...]:
    return (
        listening_on(listener),
        listener.transparent,
        listener.freebind,
        listener.reuse_port,
        listener.ipv4_compat,
        listener.mptcp,
        listener.socket_options,
        listener.later_socket_options,
        listener.additional_options,
    )
