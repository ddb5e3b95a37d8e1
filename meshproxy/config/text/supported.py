"""Which fields of Envoy's API the code reads: the record behind docs/supported.md.

Nobody keeps such a list by hand for long, so it is taken from the running code: sample configurations are compiled
while every read of a field is noted (`plugin.reading_record`). A compile function asks for all the fields that it
knows of, set or not, so one sample of a message type lists them all. The other way round: a type that no sample
contains is missing in the list, which is why the page says which samples it was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from meshproxy.config.text.bootstrap_load import Source
from meshproxy.messages.by_name import message_class
from meshproxy.plugin.ignorable import IGNORABLE
from meshproxy.plugin.reading_record import recording
from meshproxy.records import dataclass

_HEAD = """\
# Supported fields

Made by compiling {count} sample configurations and noting each field that the code asked for; not edited by hand.
A field that isn't listed as read or ignored is refused when it is set, with its file, line and column; of a field
that is read single values may be refused too, and the message then says which.
Names are those of Envoy's v3 API.
"""


@dataclass(frozen=True, slots=True)
class MessageSupport:
    """One message type: the fields that code reads, those accepted without effect, and those refused when set."""

    full_name: str
    read: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...]
    refused: tuple[str, ...]


def collect_support(compile_source: Callable[[Source], object], samples: Iterable[Source]) -> list[MessageSupport]:
    """Load and compile each sample and say what was read, by message name. Raises what `compile_source` raises."""
    with recording() as record:
        for sample in samples:
            compile_source(sample)
    fields_read: dict[str, set[str]] = {}
    for full_name, field in record:
        fields_read.setdefault(full_name, set()).add(field)
    return [_support(name, fields_read[name]) for name in sorted(fields_read)]


def _support(full_name: str, read: set[str]) -> MessageSupport:
    message_type = message_class(full_name)
    known = [field.name for field in message_type.DESCRIPTOR.fields] if message_type else []
    if "*" in read:
        read = set(known)
    reasons = IGNORABLE.get(full_name, {})
    return MessageSupport(
        full_name,
        tuple(name for name in known if name in read and name not in reasons),
        tuple((name, reasons[name]) for name in known if name in reasons),
        tuple(name for name in known if name not in read and name not in reasons),
    )


def render_support(support: Iterable[MessageSupport], samples: int) -> str:
    """docs/supported.md."""
    sections = [_HEAD.format(count=samples)]
    for message in support:
        lines = [f"\n## {message.full_name}\n"]
        if message.read:
            lines.append(f"Read: {_names(message.read)}\n")
        if message.ignored:
            lines.append("Accepted without effect:\n")
            lines += [f"- `{name}`: {reason}" for name, reason in message.ignored]
            lines.append("")
        if message.refused:
            lines.append(f"Refused when set: {_names(message.refused)}\n")
        sections.append("\n".join(lines))
    return "".join(sections)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
