"""Header changes that the configuration asks for: removals, then additions with their append actions.

Order and actions are Envoy's: config.core.v3.HeaderValueOption and "Custom request/response headers" of its
documentation. An added value that comes out empty isn't added unless `keep_empty_value`. All additions of a level see
the headers as its removals have left them; what overwrites goes before what adds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshproxy.headers import Headers, check_value
from meshproxy.model.route import HeaderAddition, HeaderMutations


def apply_mutations(levels: Iterable[HeaderMutations], headers: Headers, stream: Any) -> None:
    """Apply each level's removals and additions to `headers`; formatters read `stream`."""
    for level in levels:
        for name in level.remove:
            if headers.repeated:
                headers.remove(name)
            else:
                headers.fields.pop(name, None)
        if level.at_once:
            _apply_at_once(level.add, headers, stream)
        else:
            for addition in level.add:
                apply_addition(addition, headers, stream)


def _apply_at_once(additions: Iterable[HeaderAddition], headers: Headers, stream: Any) -> None:
    wanted = [(each, _value(each, stream)) for each in additions if _is_wanted(each, headers)]
    for addition, value in wanted:
        if value or (value is not None and addition.keep_empty_value):
            if addition.action.startswith("OVERWRITE"):
                headers.remove(addition.name)
            headers.append_checked(addition.name, value)


def _is_wanted(addition: HeaderAddition, headers: Headers) -> bool:
    if addition.action == "ADD_IF_ABSENT":
        return addition.name not in headers.fields
    return addition.action != "OVERWRITE_IF_EXISTS" or addition.name in headers.fields


def _value(addition: HeaderAddition, stream: Any) -> str | None:
    """None for what can't be a header value: it came from a peer."""
    if addition.constant is not None:
        return addition.constant
    assert addition.format_value is not None
    value = addition.format_value(stream)
    try:
        check_value(value)
    except ValueError:
        return None
    return value  # with the white space around it, which a format may have asked for


def apply_addition(addition: HeaderAddition, headers: Headers, stream: Any) -> None:
    """Apply one addition."""
    value = addition.constant
    if value is None:
        value = _value(addition, stream)
    if not value and (value is None or not addition.keep_empty_value):
        return
    name = addition.name
    action = addition.action
    present = name in headers.fields
    if action == "APPEND_IF_EXISTS_OR_ADD":
        if present:
            headers.append_checked(name, value)
        else:
            headers.fields[name] = value
    elif action == "ADD_IF_ABSENT":
        if not present:
            headers.fields[name] = value
    elif present or action == "OVERWRITE_IF_EXISTS_OR_ADD":
        # As in Envoy the field goes to the end, also when it was there.
        headers.remove(name)
        headers.fields[name] = value
