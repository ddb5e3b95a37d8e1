"""What becomes of a value outside the language: the text of `%CEL%`, and the JSON of `%TYPED_CEL%`."""

from __future__ import annotations

import base64
from typing import Any

from meshproxy.cel.times import json_duration, json_timestamp, show_duration, show_timestamp
from meshproxy.cel.values import CelMap, CelType, Duration, MessageMap, Timestamp, unicode_text


def text_of(value: Any) -> str:
    """A value as text (Latin-1 characters for bytes): a string bare, `CelMap value` for what has no text."""
    if isinstance(value, CelType):
        return "CelType value"
    if isinstance(value, str):
        return value
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, Duration):
        return show_duration(value)
    if isinstance(value, Timestamp):
        return show_timestamp(value)
    if isinstance(value, tuple):
        return "CelList value"
    if isinstance(value, MessageMap):
        return value.show()
    return "CelMap value" if isinstance(value, CelMap) else str(int(value))


def plain_of(value: Any) -> Any:
    """A value as JSON can say it, texts in Unicode; None for what it can't."""
    if isinstance(value, CelType):
        return None
    if isinstance(value, str):
        return unicode_text(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Duration):
        return json_duration(value)
    if isinstance(value, Timestamp):
        return json_timestamp(value)
    if isinstance(value, tuple):
        return [plain_of(item) for item in value]
    if isinstance(value, CelMap):
        items = value.items()
        return None if items is None else {text_of(key): plain_of(item) for key, item in items}
    return int(value)
