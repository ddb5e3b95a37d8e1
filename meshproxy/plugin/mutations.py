"""Header changes that the configuration asks for: removals, then additions with their append actions.

Order and actions are Envoy's: config.core.v3.HeaderValueOption and "Custom request/response headers" of its
documentation. An added value that comes out empty isn't added unless `keep_empty_value`.
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
        for addition in level.add:
            apply_addition(addition, headers, stream)


def apply_addition(addition: HeaderAddition, headers: Headers, stream: Any) -> None:
    """Apply one addition. A formatted value that can't be a header value is dropped: it came from a peer."""
    value = addition.constant
    if value is None:
        assert addition.format_value is not None
        try:
            value = addition.format_value(stream)
            check_value(value)
        except ValueError:
            return
    if not value and not addition.keep_empty_value:
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
