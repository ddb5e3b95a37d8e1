r"""The regular expressions of `stats_config.stats_tags`.

They are the one place where Envoy takes ECMAScript's expressions (`std::regex`) instead of RE2's, and Istio's bootstrap
uses what RE2 hasn't: `^listener(?=\.).*?`. Such an expression is checked by ECMAScript's rules, its character classes
(`[:digit:]`) are written out, and then RE2 runs it if it can, in linear time; what needs to look ahead or back is run
by Python's `re`, on the names of statistics and on nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

import re2

from meshproxy.records import dataclass

DEFAULT_TAGS = frozenset(
    f"envoy.{name}"
    for name in (
        "clientssl_prefix", "cluster_name", "connection_limit_prefix", "ext_authz_prefix",
        "fault_downstream_cluster", "grpc_bridge_method", "grpc_bridge_service", "health_check_name",
        "http_conn_manager_prefix", "http_user_agent", "listener_address", "local_http_ratelimit_prefix",
        "local_listener_ratelimit_prefix", "local_network_ratelimit_prefix", "proxy_protocol_prefix",
        "proxy_protocol_version", "ratelimit_prefix", "rbac_http_prefix", "rbac_policy_name", "rbac_prefix",
        "rds_route_config", "response_code", "response_code_class", "route", "scoped_rds_config", "ssl_cipher",
        "ssl_cipher_suite", "ssl_curve", "ssl_sigalg", "ssl_version", "tcp_prefix", "tls_certificate", "udp_prefix",
        "virtual_cluster", "virtual_host", "worker_id", "xds_resource_name",
    )
)  # fmt: skip
"""The tags that Envoy has expressions for itself (`well_known_names.cc`)."""

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "d": "0-9",
    "digit": "0-9",
    "graph": "\\x21-\\x7e",
    "lower": "a-z",
    "print": "\\x20-\\x7e",
    "punct": "!-/:-@\\[-`{-~",
    "s": "\\s",
    "space": "\\s",
    "upper": "A-Z",
    "w": "\\w",
    "xdigit": "0-9a-fA-F",
}
_ESCAPES = frozenset("dDsSwWbBfnrtv")
_QUANTIFIERS = frozenset("*+?}")


class Match(Protocol):
    """What the matches of `re` and of `re2` have in common."""

    def span(self, group: int, /) -> tuple[int, int]: ...
    def group(self, group: int, /) -> Any: ...


Search = Callable[[str], Match | None]


@dataclass(frozen=True, slots=True)
class TagRegex:
    """An expression and how it is searched for in a name. groups: how many it has."""

    pattern: str
    search: Search
    groups: int


def tag_regex(pattern: str) -> TagRegex:
    """Compile one. Raises ValueError."""
    translated = "".join(_Translation(pattern).parts())
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(translated, options)
    except re2.error:
        try:
            compiled = re.compile(translated, re.ASCII)
        except (re.error, OverflowError) as error:
            raise ValueError(f"invalid regex '{pattern}': {error}") from None
    return TagRegex(pattern, compiled.search, compiled.groups)


class _Translation:
    """One pass over a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def _fail(self, what: str) -> ValueError:
        return ValueError(f"invalid regex '{self._pattern}': {what}")

    def parts(self) -> list[str]:
        """The pieces of the expression for RE2 and Python. Raises ValueError."""
        pattern, parts = self._pattern, list[str]()
        while self._at < len(pattern):
            char = pattern[self._at]
            if char == "\\":
                parts.append(self._escape())
                continue
            if char == "[":
                parts.append(self._set())
                continue
            if char == "]":
                raise self._fail("']' without '['")
            if char == "(" and pattern.startswith("(?", self._at) and pattern[self._at + 2 : self._at + 3] not in "=!:":
                raise self._fail("of groups with '(?' there are only '(?:', '(?=' and '(?!'")
            if (
                char == "+"
                and self._at
                and pattern[self._at - 1] in _QUANTIFIERS
                and parts[-1] == pattern[self._at - 1]
            ):
                raise self._fail("nothing to repeat before '+'")
            parts.append(char)
            self._at += 1
        return parts

    def _escape(self) -> str:
        """An escape sequence, in or outside a set."""
        pattern, at = self._pattern, self._at
        char = pattern[at + 1 : at + 2]
        if not char:
            raise self._fail("it ends with a backslash")
        if char in "xu":
            digits = pattern[at + 2 : at + (4 if char == "x" else 6)]
            if not re.fullmatch("[0-9a-fA-F]{2}" if char == "x" else "[0-9a-fA-F]{4}", digits):
                raise self._fail(f"bad escape '\\{char}{digits}'")
            self._at += 2 + len(digits)
            return re.escape(chr(int(digits, 16)))
        self._at += 2
        if char.isalpha() and char not in _ESCAPES:
            raise self._fail(f"bad escape '\\{char}'")
        return f"\\{char}" if char.isascii() else char

    def _set(self) -> str:
        """A set in brackets."""
        pattern, out = self._pattern, "["
        self._at += 1
        if pattern.startswith("^", self._at):
            out += "^"
            self._at += 1
        first = True
        while True:
            char = pattern[self._at : self._at + 1]
            if not char:
                raise self._fail("'[' without ']'")
            if char == "]" and not first:
                self._at += 1
                return out + "]"
            if char == "]" and first:
                raise self._fail("an empty set")
            first = False
            if pattern.startswith("[:", self._at):
                name, _, _ = pattern[self._at + 2 :].partition(":]")
                if name not in _CLASSES:
                    raise self._fail(f"no character class [:{name}:]")
                out += _CLASSES[name]
                self._at += len(name) + 4
            elif char == "\\":
                out += self._escape()
            else:
                out += f"\\{char}" if char in "[&~|" else char
                self._at += 1
