"""`envoy.filters.http.json_to_metadata`: puts what stands in a JSON body into the dynamic metadata.

A body is held until it is whole, and only if its type is one that was asked for. What Envoy does with odd values was
looked up in the running program: a constant is put wherever the object around it is there; null, objects and lists
count as missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.struct_pb2 import Value

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.matching import StringMatcher, wire_text
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.stats import Counter, StatsScope
from meshproxy.plugin.struct_view import plain_value
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NAMESPACE = "envoy.filters.http.json_to_metadata"


Found = list[tuple["Target", Any]]
"""What the rules came to, put into the metadata when all are done: `keep` is about what was there before."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Where a value goes. constant: instead of what was found, None for none. keep: what is there already stays."""

    namespace: str
    key: str
    constant: Any
    kind: str
    keep: bool

    def put(self, value: Any, found: Found) -> bool:
        """Add the constant, or `value` as the type wanted, to what was found; False if it can't be made one."""
        if self.constant is not None:
            value = self.constant
        elif isinstance(value, str) and len(value.encode()) >= _LONGEST_TEXT:
            return False
        elif self.kind != "PROTOBUF_VALUE":
            value = _number(value) if self.kind == "NUMBER" else _text(value)
            if value is None:
                return False
            if value == "":
                return True  # an empty text is nothing
        found.append((self, value))
        return True


_LONGEST_TEXT = 8 * 1024
_LONGEST_INTEGER, _BEYOND = 30, 2**100


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _fraction(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is larger than a double")
    return number


def _integer(text: str) -> int | float:
    """As Envoy's reader has it, whose integers have 64 bits: those that need the last one are refused."""
    number = int(text) if len(text) < _LONGEST_INTEGER else _BEYOND
    if 2**63 <= number < 2**64:
        raise ValueError(f"{text} is larger than int64_t")
    return number if -(2**63) <= number < 2**63 else float(text)


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float):
        return float(value)
    try:
        number = float(value) if value.isascii() and "_" not in value else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return f"{value:f}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """keys: the path to the value."""

    keys: tuple[str, ...]
    present: Target | None
    missing: Target | None
    error: Target | None

    def apply(self, document: Any, found: Found) -> None:
        parent = document
        for key in self.keys[:-1]:
            parent = parent.get(key) if isinstance(parent, dict) else None
        value = parent.get(self.keys[-1]) if isinstance(parent, dict) else None
        present = self.present
        around = isinstance(parent, dict) or (parent is document and isinstance(parent, list))
        if around and present is not None and present.constant is not None:
            present.put(None, found)
        elif not isinstance(value, str | bool | int | float):
            if self.missing is not None:
                self.missing.put(None, found)
        elif present is not None and not present.put(value, found) and self.missing is not None:
            self.missing.put(None, found)


def _note(found: Found, stream: Stream) -> None:
    kept = {(target.namespace, target.key) for target, _ in found if target.keep}
    before = {each for each in kept if each[1] in (stream.dynamic_metadata or {}).get(each[0], {})}
    for target, value in found:
        if not target.keep or (target.namespace, target.key) not in before:
            stream.set_metadata(target.namespace, target.key, value)


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """The rules of one direction. takes: whether a body of this type (None: of none) is looked at."""

    rules: tuple[Rule, ...]
    takes: Callable[[str | None], bool]
    success: Counter
    no_body: Counter
    mismatched: Counter
    invalid: Counter

    def holds_body(self, message: Headers, ended: bool, stream: Stream) -> bool:
        """The head has come: whether to wait for the body. Otherwise the rules are applied here."""
        if not self.takes(message.fields.get("content-type")):
            self.mismatched.value += 1
            self._fail(stream)
            return False
        if ended:
            self._nothing(stream)
        return not ended

    def read(self, body: bytes, stream: Stream) -> None:
        """The body has come."""
        if not body:
            self._nothing(stream)
            return
        try:
            document = json.loads(body, parse_constant=_refuse, parse_int=_integer, parse_float=_fraction)
        except (ValueError, RecursionError):
            self.invalid.value += 1
            self._fail(stream)
            return
        found: Found = []
        for rule in self.rules:
            rule.apply(document, found)
        _note(found, stream)
        self.success.value += 1

    def _nothing(self, stream: Stream) -> None:
        self.no_body.value += 1
        _note([(rule.missing, rule.missing.constant) for rule in self.rules if rule.missing is not None], stream)

    def _fail(self, stream: Stream) -> None:
        _note([(rule.error, rule.error.constant) for rule in self.rules if rule.error is not None], stream)


@dataclass(frozen=True, slots=True, eq=False)
class JsonToMetadataConfig:
    request: Rules | None
    response: Rules | None


class JsonToMetadata(HttpFilter[JsonToMetadataConfig]):
    """See the module."""

    _holds_request: bool = False
    _holds_response: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> JsonToMetadataConfig:
        request = _read_rules(view, "request_rules", context, context.root_stats.scope("json_to_metadata.rq."))
        response = _read_rules(view, "response_rules", context, context.root_stats.scope("json_to_metadata.resp."))
        return JsonToMetadataConfig(request, response)

    @classmethod
    def is_active(cls, config: JsonToMetadataConfig) -> bool:
        return config.request is not None or config.response is not None

    @classmethod
    def buffers_request(cls, config: JsonToMetadataConfig) -> bool:
        return config.request is not None

    @classmethod
    def buffers_response(cls, config: JsonToMetadataConfig) -> bool:
        return config.response is not None

    def wants_request_body(self) -> bool:
        return self._holds_request

    def wants_response_body(self) -> bool:
        return self._holds_response

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        if self.config.request is not None:
            self._holds_request = self.config.request.holds_body(request, stream.request_end, stream)

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> None:
        if self.config.request is not None and self._holds_request:
            self.config.request.read(data, stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        if self.config.response is not None:
            self._holds_response = self.config.response.holds_body(response, stream.response_end, stream)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> None:
        if self.config.response is not None and self._holds_response:
            self.config.response.read(data, stream)


def _read_rules(view: ConfigView, field: str, context: FactoryContext, scope: StatsScope) -> Rules | None:
    counters = [scope.counter(n) for n in ("success", "no_body", "mismatched_content_type", "invalid_json_body")]
    rules = view.view(field)
    if rules is None:
        return None
    return Rules(tuple(_read_rule(entry) for entry in rules.views("rules")), _read_types(rules, context), *counters)


def _read_types(view: ConfigView, context: FactoryContext) -> Callable[[str | None], bool]:
    types = frozenset(wire_text(each) for each in view.texts("allow_content_types")) or {"application/json"}
    empty = view.boolean("allow_empty_content_type")
    pattern = view.view("allow_content_types_regex")
    matches: StringMatcher = context.compile_regex_matcher(pattern) if pattern is not None else lambda text: False
    return lambda text: (text in types or matches(text)) if text else empty


def _read_rule(view: ConfigView) -> Rule:
    targets = [_read_target(view.view(name), name) for name in ("on_present", "on_missing", "on_error")]
    if targets[0] is None and targets[1] is None:
        view.fail("json to metadata filter: neither `on_present` nor `on_missing` set")
    return Rule(tuple(entry.text("key") for entry in view.views("selectors")), *targets)


def _read_target(view: ConfigView | None, name: str) -> Target | None:
    if view is None:
        return None
    value = view.view("value")
    constant = _constant(value) if value is not None else None
    if name != "on_present" and constant is None:
        view.fail(f"json to metadata filter: cannot specify {name} rule with empty value", "value")
    return Target(
        view.text("metadata_namespace") or _NAMESPACE,
        view.text("key"),
        constant,
        view.enum("type"),
        view.boolean("preserve_existing_metadata_value"),
    )


def _constant(view: ConfigView) -> Any:
    """A `google.protobuf.Value`; None for null."""
    return plain_value(cast("Value", view.raw()))
