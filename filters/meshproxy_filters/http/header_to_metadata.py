"""`envoy.filters.http.header_to_metadata`: copies fields and cookies into dynamic metadata.

Without rules, which then are those of routes, it does nothing. Only with `stat_prefix` does it count.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from meshproxy.cookies import parse_cookies
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders, check_name
from meshproxy.matching import header_getter, wire_text
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.stats import Counter, StatsScope
from meshproxy.plugin.struct_view import plain_value
from meshproxy.records import dataclass
from meshproxy.regex import regex_replacer

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NAMESPACE = "envoy.filters.http.header_to_metadata"
_LONGEST = 8 * 1024
_NAN = re.compile(r"[+-]?nan(\([0-9a-z]*\))?", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"[+-]?0x", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Where a value goes, and how. constant: in place of what was found, "" for none."""

    namespace: str
    key: str
    constant: str
    rewrite: Callable[[str], str] | None
    kind: str
    base64: bool

    def put(self, value: str, stream: Stream) -> str:
        """Note a value; one that is empty, too long or not of the kind is left out, as in Envoy. Returns the name of
        the counter for what became of it, "" for none."""
        if self.constant:
            value = self.constant
        elif self.rewrite is not None:
            value = self.rewrite(value)
        if not value:
            return ""
        if len(value) >= _LONGEST:
            return "header_value_too_long"
        if self.base64:
            try:
                value = base64.b64decode(value + _padding(value), validate=True).decode("latin-1")
            except (binascii.Error, ValueError):
                return "base64_decode_failed"
        try:
            noted = _READERS[self.kind](value)
        except (ValueError, DecodeError):
            return ""
        stream.set_metadata(self.namespace, self.key, noted)
        return "metadata_added"


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """read: the value, None where there is none. remove: takes the field away once it was read."""

    read: Callable[[Any], str | None]
    present: Target | None
    missing: Target | None
    remove: str

    def apply(self, headers: Headers, stream: Stream) -> tuple[str, ...]:
        """Returns the names of the counters for what it found and did."""
        value = self.read(headers)
        if value is None:
            outcome = self.missing.put("", stream) if self.missing is not None else ""
            return "rules_processed", "header_not_found", outcome
        outcome = self.present.put(value, stream) if self.present is not None else ""
        if self.remove:
            headers.remove(self.remove)
        return "rules_processed", outcome


@dataclass(frozen=True, slots=True, eq=False)
class HeaderToMetadataConfig:
    """request_counts, response_counts: by the names that `Rule.apply` gives; empty where nothing is counted."""

    request: tuple[Rule, ...]
    response: tuple[Rule, ...]
    request_counts: Mapping[str, Counter]
    response_counts: Mapping[str, Counter]


class HeaderToMetadata(HttpFilter[HeaderToMetadataConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> HeaderToMetadataConfig:
        prefix = view.text("stat_prefix")
        scope = context.root_stats.scope(f"http_filter_name.{prefix}.") if prefix else None
        return HeaderToMetadataConfig(
            request=_read_rules(view.views("request_rules"), cookies=True),
            response=_read_rules(view.views("response_rules")),
            request_counts=_counters(scope, "request_") if scope is not None else {},
            response_counts=_counters(scope, "response_") if scope is not None else {},
        )

    @classmethod
    def compile_route(cls, view: ConfigView, context: FactoryContext) -> HeaderToMetadataConfig:
        config = cls.compile(view, context)
        if not cls.is_active(config):
            view.fail(
                "header_to_metadata filter: Per filter configs must at least specify either request or response rules"
            )
        return config

    @classmethod
    def is_active(cls, config: HeaderToMetadataConfig) -> bool:
        return bool(config.request or config.response)

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        counts = self.config.request_counts
        for rule in self.config.request:
            _count(counts, rule.apply(request, stream))

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        counts = self.config.response_counts
        for rule in self.config.response:
            _count(counts, rule.apply(response, stream))


def _counters(scope: StatsScope, side: str) -> dict[str, Counter]:
    of_sides = {name: scope.counter(side + name) for name in ("rules_processed", "metadata_added", "header_not_found")}
    shared = ("header_value_too_long", "base64_decode_failed", "regex_substitution_failed")
    return of_sides | {name: scope.counter(name) for name in shared}


def _count(counts: Mapping[str, Counter], names: tuple[str, ...]) -> None:
    if counts:
        for name in names:
            if name:
                counts[name].value += 1


def _text(value: str) -> str:
    """What is no UTF-8 stays a character for each byte, as Envoy shows it."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


def _padding(value: str) -> str:
    """What base64 lacks where its padding was left out."""
    return "" if "=" in value else "=" * (-len(value) % 4)


def _number(text: str) -> float:
    """A number as absl::SimpleAtod reads it: decimal, hexadecimal, infinite, or none at all. Raises ValueError."""
    text = text.strip(" \t\r\n\v\f")
    if not text.isascii() or "_" in text:
        raise ValueError(f"{text!r} is no number")
    if _NAN.fullmatch(text):
        return math.nan
    if not _HEXADECIMAL.match(text):
        return float(text)
    try:
        return float.fromhex(text)
    except OverflowError:
        return -math.inf if text.startswith("-") else math.inf


def _packed(value: str) -> Any:
    """A serialized `google.protobuf.Value`. Raises ValueError or DecodeError."""
    return plain_value(struct_pb2.Value.FromString(value.encode("latin-1")))


_READERS: dict[str, Callable[[str], Any]] = {"STRING": _text, "NUMBER": _number, "PROTOBUF_VALUE": _packed}


def _read_rules(views: Sequence[ConfigView], cookies: bool = False) -> tuple[Rule, ...]:
    return tuple(_read_rule(view, cookies) for view in views)


def _read_rule(view: ConfigView, cookies: bool) -> Rule:
    header, cookie = view.text("header"), wire_text(view.text("cookie"))
    if bool(header) == bool(cookie):
        view.fail(
            "One of Cookie or Header option needs to be specified"
            if not header
            else "Cannot specify both header and cookie"
        )
    present, missing = view.view("on_header_present"), view.view("on_header_missing")
    if present is None and missing is None:
        view.fail("header to metadata filter: rule needs to set either 'on_header_present' or 'on_header_missing'")
    remove = view.boolean("remove")
    if cookie and remove:
        view.fail("Cannot specify remove for cookie", "remove")
    return Rule(
        read=(lambda headers: parse_cookies(headers).get(cookie) or None) if cookie else _reader(view, header),
        present=_read_target(present) if present is not None else None,
        missing=_read_missing(missing) if missing is not None else None,
        remove=header.lower() if remove else "",
    )


def _reader(view: ConfigView, name: str) -> Callable[[Any], str | None]:
    if name.startswith(":"):
        return header_getter(name)
    try:
        return header_getter(check_name(name))
    except ValueError as error:
        view.fail(str(error), "header")


def _read_missing(view: ConfigView) -> Target:
    target = _read_target(view)
    if not target.constant:
        view.fail("Cannot specify on_header_missing rule with an empty value", "value")
    if target.rewrite is not None:
        view.fail("Cannot specify on_header_missing rule with a regex rewrite", "regex_value_rewrite")
    return target


def _read_target(view: ConfigView) -> Target:
    rewrite = view.view("regex_value_rewrite")
    constant = wire_text(view.text("value"))
    if constant and rewrite is not None:
        view.fail("Cannot specify both value and regex_value_rewrite", "regex_value_rewrite")
    return Target(
        namespace=view.text("metadata_namespace") or _NAMESPACE,
        key=view.text("key"),
        constant=constant,
        rewrite=_read_rewrite(rewrite) if rewrite is not None else None,
        kind=view.enum("type"),
        base64=view.enum("encode") == "BASE64",
    )


def _read_rewrite(view: ConfigView) -> Callable[[str], str]:
    pattern = view.required("pattern")
    pattern.has("google_re2")
    try:
        return regex_replacer(pattern.text("regex"), view.text("substitution"))
    except ValueError as error:
        view.fail(str(error))
