"""`envoy.filters.http.header_to_metadata`: copies fields and cookies into dynamic metadata."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from meshproxy.cookies import parse_cookies
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders, check_name
from meshproxy.matching import header_getter, regex_replacer, wire_text
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NAMESPACE = "envoy.filters.http.header_to_metadata"
_LONGEST = 8 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Where a value goes, and how. constant: in place of what was found, "" for none."""

    namespace: str
    key: str
    constant: str
    rewrite: Callable[[str], str] | None
    number: bool
    base64: bool

    def put(self, value: str, stream: Stream) -> None:
        """Note a value; one that is empty, too long or not of the kind is left out, as in Envoy."""
        if self.constant:
            value = self.constant
        elif self.rewrite is not None:
            value = self.rewrite(value)
        if not value or len(value) >= _LONGEST:
            return
        if self.base64:
            try:
                value = base64.b64decode(value, validate=True).decode("latin-1")
            except (binascii.Error, ValueError):
                return
        noted: Any = value if value.isascii() else value.encode("latin-1").decode("utf-8", "replace")
        if self.number:
            noted = _number(value)
            if noted is None:
                return
        stream.set_metadata(self.namespace, self.key, noted)


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """read: the value, None where there is none. remove: takes the field away once it was read."""

    read: Callable[[Any], str | None]
    present: Target | None
    missing: Target | None
    remove: str

    def apply(self, headers: Headers, stream: Stream) -> None:
        value = self.read(headers)
        if value is None:
            if self.missing is not None:
                self.missing.put("", stream)
            return
        if self.present is not None:
            self.present.put(value, stream)
        if self.remove:
            headers.remove(self.remove)


@dataclass(frozen=True, slots=True, eq=False)
class HeaderToMetadataConfig:
    request: tuple[Rule, ...] = ()
    response: tuple[Rule, ...] = ()


class HeaderToMetadata(HttpFilter[HeaderToMetadataConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> HeaderToMetadataConfig:
        config = HeaderToMetadataConfig(
            _read_rules(view.views("request_rules"), cookies=True), _read_rules(view.views("response_rules"))
        )
        if not config.request and not config.response:
            view.fail(
                "header_to_metadata filter: Per filter configs must at least specify either request or response rules"
            )
        return config

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        for rule in self.config.request:
            rule.apply(request, stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        for rule in self.config.response:
            rule.apply(response, stream)


def _number(text: str) -> float | None:
    """A decimal number as absl::SimpleAtod reads it, without its infinities and names."""
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


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
        read=(lambda headers: parse_cookies(headers).get(cookie)) if cookie else _reader(view, header),
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
    kind, encode = view.enum("type"), view.enum("encode")
    if kind == "PROTOBUF_VALUE":
        view.fail("values of the type PROTOBUF_VALUE aren't supported by meshproxy", "type")
    rewrite = view.view("regex_value_rewrite")
    constant = wire_text(view.text("value"))
    if constant and rewrite is not None:
        view.fail("Cannot specify both value and regex_value_rewrite", "regex_value_rewrite")
    return Target(
        namespace=view.text("metadata_namespace") or _NAMESPACE,
        key=view.text("key"),
        constant=constant,
        rewrite=_read_rewrite(rewrite) if rewrite is not None else None,
        number=kind == "NUMBER",
        base64=encode == "BASE64",
    )


def _read_rewrite(view: ConfigView) -> Callable[[str], str]:
    pattern = view.required("pattern")
    pattern.has("google_re2")
    try:
        return regex_replacer(pattern.text("regex"), view.text("substitution"))
    except ValueError as error:
        view.fail(str(error))
