"""Protobuf's own forms of a message: packed (`.pb`), and its text format (`.pb_text`).

Neither has places as YAML has them; problems name the file, and the text format's own faults their line.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.message import DecodeError, Message

from meshproxy.errors import ConfigError, Problem
from meshproxy.messages.by_name import message_class

_PACKED_NAME = re.compile(r"\[\s*type\.googleapis\.com/([\w.]+)\s*\]")


def read_protobuf(source: str, content: bytes | str, message: Message) -> None:
    """Fill `message`. content: packed bytes, or text. source: for problems. Raises ConfigError."""
    if isinstance(content, bytes):
        try:
            message.ParseFromString(content)
        except DecodeError:
            name = message.DESCRIPTOR.full_name
            raise ConfigError(Problem("", f"no packed {name}, or nested too deeply", source)) from None
        return
    from google.protobuf import text_format  # hardly anybody writes it

    for name in set(_PACKED_NAME.findall(content)):
        message_class(name)  # the parser finds only what was imported
    try:
        text_format.Parse(content, message)
    except text_format.ParseError as error:
        fault: Any = error
        text = str(error).partition(" : ")[2] or str(error)
        raise ConfigError(Problem("", text, source, fault.GetLine() or 0, fault.GetColumn() or 0)) from None
    except RecursionError:
        raise ConfigError(Problem("", "nested too deeply", source)) from None
