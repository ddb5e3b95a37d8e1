r"""Takes the changing parts out of a statistic's name: `cluster.up.upstream_rq_200` is `cluster.upstream_rq` with the
tags `envoy.response_code=200` and `envoy.cluster_name=up`.

An extractor is a regular expression matched against the whole name. Its first group is cut out of the name, its second
(or else the first) is the tag's value. Extractors see the name as it was, so their order decides only the order of the
tags: as in Envoy those whose expression doesn't begin with `^word\.` come first, and patterns of tokens last. Of two
extractors of one tag the first that matches counts.

The default tags are those of Envoy's `well_known_names.cc`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from meshproxy.records import dataclass
from meshproxy.tag_regex import Search, tag_regex

Tags = tuple[tuple[str, str], ...]
"""(name, value) in the order of extraction."""


_VALUE = r"[^.]+"
_ADDRESS = r"(?:\d+\.\d+\.\d+\.\d+_\d+|\[[_a-fA-F\d]*\]_\d+)"
_LISTENER_OR_CLUSTER = rf"(?:listener\.(?:{_ADDRESS}|{_VALUE})|cluster\.{_VALUE})"

# Tag, and an expression or a pattern of tokens: `*` is one token, `$` the one that is the value, `**` all the others.
_DEFAULTS = (
    ("response_code", r"_rq(_(\d{3}))$"),
    ("response_code_class", r"_rq_((\d))xx$"),
    ("http_user_agent", "http.*.user_agent.$.**"),
    ("virtual_cluster", "vhost.*.vcluster.$.**"),
    ("fault_downstream_cluster", "http.*.fault.$.**"),
    ("ssl_cipher", r"^listener\..*?\.ssl\.ciphers(\.([\w-]+))$"),
    ("ssl_cipher_suite", rf"^cluster\.{_VALUE}\.ssl\.ciphers(\.([\w-]+))$"),
    ("ssl_curve", rf"^{_LISTENER_OR_CLUSTER}\.ssl\.curves(\.([\w-]+))$"),
    ("ssl_sigalg", rf"^{_LISTENER_OR_CLUSTER}\.ssl\.sigalgs(\.([\w-]+))$"),
    ("ssl_version", rf"^{_LISTENER_OR_CLUSTER}\.ssl\.versions(\.([\w.-]+))$"),
    ("tls_certificate", rf"^{_LISTENER_OR_CLUSTER}\.ssl\.certificate(\.({_VALUE}))\."),
    ("grpc_bridge_method", "cluster.*.grpc.*.$.**"),
    ("grpc_bridge_service", "cluster.*.grpc.$.**"),
    ("tcp_prefix", "tcp.$.**"),
    ("udp_prefix", "udp.$.**"),
    ("clientssl_prefix", "auth.clientssl.$.**"),
    ("ratelimit_prefix", "ratelimit.$.**"),
    ("cluster_name", "cluster.$.**"),
    ("http_conn_manager_prefix", rf"^listener\..*?\.http\.(({_VALUE})\.)"),
    ("http_conn_manager_prefix", "http.$.**"),
    ("listener_address", rf"^listener\.((?!admin\.)({_ADDRESS}|{_VALUE})\.)"),
    ("virtual_host", "vhost.$.**"),
    ("rds_route_config", rf"^http\.{_VALUE}\.rds\.(([\w.:|-]+)\.)\w+?$"),
    ("scoped_rds_config", rf"^http\.{_VALUE}\.scoped_rds\.(([\w.-]+)\.)\w+?$"),
    ("worker_id", rf"^(?:listener\.(?:{_ADDRESS}|{_VALUE})|server|listener_manager|thread_local_cluster_manager)"
                  r"\.worker_((\d+)\.)"),
    ("local_http_ratelimit_prefix", "$.http_local_rate_limit.**"),
    ("local_network_ratelimit_prefix", "local_rate_limit.$.**"),
    ("local_listener_ratelimit_prefix", "listener_local_ratelimit.$.**"),
    ("connection_limit_prefix", "connection_limit.$.**"),
    ("rbac_policy_name", rf"^http\.{_VALUE}\.rbac\.(?:{_VALUE}\.)?policy\.(({_VALUE})\.)"
                         r"(?:allowed|shadow_allowed|denied|shadow_denied)$"),
    ("rbac_http_prefix", rf"^http\.{_VALUE}\.rbac\.(({_VALUE})\.).*?"),
    ("rbac_prefix", "$.rbac.**"),
    ("ext_authz_prefix", "http.*.ext_authz.$.**"),
    ("ext_authz_prefix", "cluster.*.ext_authz.$.**"),
    ("health_check_name", rf"^cluster\.{_VALUE}\.health_check(\.name\.({_VALUE}))\..+"),
    ("proxy_protocol_version", rf"^proxy_proto\.((?:{_VALUE}\.)?versions\.v(\d)\.)\w+$"),
    ("proxy_protocol_prefix", rf"^proxy_proto\.(({_VALUE})\.).+$"),
    ("route", "vhost.*.route.$.**"),
    ("xds_resource_name", rf"^sds\.(({_VALUE})\.).+"),
)  # fmt: skip

_TAG_END = ";.;"
_ENDPOINT = "envoy.endpoint_address"
"""No extractor of Envoy's: it gives this tag with the statistic, after the others, and the address as it is written."""
_OF_ENDPOINT = rf"^cluster\.{_VALUE}\.endpoint(\.({_ADDRESS}))\."
_FIRST_TOKEN = re.compile(r"\^(\w+)\\\.")


def _is_of_tokens(pattern: str) -> bool:
    return not pattern.startswith(("^", "_"))


def _regex_of_tokens(pattern: str) -> str:
    """The regular expression of a pattern of tokens; a token is cut out together with its dot."""
    out = "^"
    for token in pattern.split("."):
        if token == "**":
            out += ".+"
        elif token == "$":
            out += rf"(({_VALUE})\.)"
        elif token == "*":
            out += rf"{_VALUE}\."
        else:
            out += rf"{token}\."
    return out


@dataclass(frozen=True, slots=True)
class TagExtractor:
    """One tag and how it is found.

    value_group: of the expression; 0 if it has none. prefix: the name's first token where it can be found at all, ""
    for any.
    """

    name: str
    search: Search
    value_group: int
    prefix: str = ""


def _extractor(name: str, pattern: str, search: Search, groups: int) -> TagExtractor:
    first = _FIRST_TOKEN.match(pattern)
    return TagExtractor(name, search, min(groups, 2), first.group(1) if first else "")


def custom_extractor(name: str, regex: str) -> TagExtractor:
    """An extractor of `stats_config.stats_tags`. Raises ValueError for a bad expression."""
    compiled = tag_regex(regex)
    return _extractor(name, regex, compiled.search, compiled.groups)


def default_extractors(name: str = "") -> tuple[TagExtractor, ...]:
    """Envoy's own extractors; only those of the tag `name` if it is given (with the prefix `envoy.`)."""
    extractors = []
    for short, pattern in sorted(_DEFAULTS, key=lambda default: _is_of_tokens(default[1])):
        full = f"envoy.{short}"
        if name in ("", full):
            regex = _regex_of_tokens(pattern) if _is_of_tokens(pattern) else pattern
            compiled = re.compile(regex)
            extractors.append(_extractor(full, regex, compiled.search, compiled.groups))
    if not name:
        extractors.append(_extractor(_ENDPOINT, _OF_ENDPOINT, re.compile(_OF_ENDPOINT).search, 2))
    return tuple(extractors)


class TagProducer:
    """Splits names into what stays and tags, remembering every name it has seen.

    fixed: tags that every statistic gets; they stand between those of the two kinds of extractors.
    """

    def __init__(self, extractors: Iterable[TagExtractor] = (), fixed: Tags = ()) -> None:
        extractors = tuple(extractors)
        self._fixed = fixed
        self._any = [extractor for extractor in extractors if not extractor.prefix]
        self._by_prefix: dict[str, list[TagExtractor]] = {}
        for extractor in extractors:
            if extractor.prefix:
                self._by_prefix.setdefault(extractor.prefix, []).append(extractor)
        self._known: dict[str, tuple[str, Tags]] = {}

    def split(self, name: str) -> tuple[str, Tags]:
        """The name without the parts that became tags, and the tags."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._extract(name)
        return known

    def forget(self, names: Iterable[str]) -> None:
        """Forget names of statistics that are gone."""
        for name in names:
            self._known.pop(name, None)

    def _extract(self, name: str) -> tuple[str, Tags]:
        if name.endswith(_TAG_END):
            return self._told(name)
        tags: dict[str, str] = {}
        cut: set[int] = set()
        self._apply(self._any, name, tags, cut)
        for key, value in self._fixed:
            tags.setdefault(key, value)
        self._apply(self._by_prefix.get(name.partition(".")[0], ()), name, tags, cut)
        rest = "".join([c for index, c in enumerate(name) if index not in cut]) if cut else name
        return rest, tuple(tags.items())

    def _told(self, name: str) -> tuple[str, Tags]:
        """Of a name that says its tags itself (`meshproxy.plugin.stats.tagged_name`)."""
        head, separator, _ = name.partition("=.=")
        rest, _, first = head.rpartition(".")
        pairs = (part.partition("=.=") for part in (first + name[len(head) :]).split(_TAG_END)[:-1])
        tags = tuple((key, value) for key, _, value in pairs)
        known = {key for key, _ in tags}
        return (rest, tags + tuple(tag for tag in self._fixed if tag[0] not in known)) if separator else (name, ())

    @staticmethod
    def _apply(extractors: Iterable[TagExtractor], name: str, tags: dict[str, str], cut: set[int]) -> None:
        for extractor in extractors:
            if extractor.name in tags:
                continue
            match = extractor.search(name)
            if match is None:
                continue
            if not extractor.value_group:
                tags[extractor.name] = ""  # no group says what the value is: in Envoy it is empty
                continue
            value = match.group(extractor.value_group) or ""
            tags[extractor.name] = value.replace("_", ":") if extractor.name == _ENDPOINT else value
            cut.update(range(*match.span(1)))
