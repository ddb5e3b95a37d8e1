"""`envoy.filters.http.ip_tagging`: names the ranges that the client's address lies in, in a header for those behind.

Each of its statistics comes to be when it first counts, as in Envoy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.address import CidrRange, is_ip
from meshproxy.headers import RequestHeaders, check_name
from meshproxy.matching import wire_text
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.stream_info import split_address
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_HEADER = "x-envoy-ip-tags"


@dataclass(frozen=True, slots=True, eq=False)
class Tag:
    """A range of addresses with a name."""

    cidr: CidrRange
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class IpTaggingConfig:
    """requests: "BOTH", "INTERNAL" or "EXTERNAL". tags: larger ranges first. sanitize: what clients say in `header` is
    taken away. header: where the names go; own: it is a configured one, to whose values names are added."""

    requests: str
    tags: tuple[Tag, ...]
    header: str
    sanitize: bool
    scope: StatsScope


class IpTagging(HttpFilter[IpTaggingConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> IpTaggingConfig:
        scope = context.stats.scope("ip_tagging.")
        tags = []
        for entry in view.views("ip_tags"):
            name = wire_text(entry.text("ip_tag_name"))
            for cidr in entry.views("ip_list"):
                prefix = cidr.text("address_prefix")
                length = min(cidr.integer("prefix_len"), 128 if ":" in prefix else 32)
                try:
                    tags.append(Tag(CidrRange.parse(prefix, length), name))
                except ValueError:
                    cidr.fail(f"invalid ip/mask combo '{prefix}/{length}' (format is <ip>/<# mask bits>)")
        if not tags:
            view.fail("HTTP IP Tagging Filter requires ip_tags to be specified.")
        own = view.view("ip_tag_header")
        return IpTaggingConfig(
            requests=view.enum("request_type"),
            tags=tuple(sorted(tags, key=lambda tag: tag.cidr.length)),
            header=_name(own) if own is not None else _HEADER,
            sanitize=own is not None and own.enum("action") == "SANITIZE",
            scope=scope,
        )

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        config = self.config
        if config.sanitize:
            request.remove(config.header)
        internal = request.fields.get("x-envoy-internal") == "true"
        if config.requests != "BOTH" and (config.requests == "INTERNAL") is not internal:
            return
        address = split_address(stream.remote_address or stream.connection.remote_address)[0]
        found = [tag for tag in config.tags if tag.cidr.contains(address)] if is_ip(address) else []
        config.scope.counter("total").value += 1
        if not found:
            config.scope.counter("no_hit").value += 1
            return
        names = dict.fromkeys(tag.name for tag in found)
        for name in names:
            config.scope.counter(f"{name}.hit").value += 1
        before = request.get(config.header)
        request[config.header] = ",".join([*([before] if before else []), *names])


def _name(view: ConfigView) -> str:
    try:
        return check_name(view.text("header"))
    except ValueError as error:
        view.fail(str(error), "header")
