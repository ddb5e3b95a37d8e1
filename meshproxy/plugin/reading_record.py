"""An optional, process-wide record of the fields that code reads: what docs/supported.md is made from.

It is off in a running proxy. While it is on, every read of a field through a view is noted, whether the field is set
or not: so compiling one sample of each message type lists all that its code knows of.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_record: set[tuple[str, str]] | None = None
active = False
"""Whether it is on; to be asked before `note_reading`, which then is called for each read."""


def note_reading(full_name: str, field: str) -> None:
    """Note that code read `field` of the message `full_name`; "*" for all of it."""
    if _record is not None:
        _record.add((full_name, field))


@contextmanager
def recording() -> Iterator[set[tuple[str, str]]]:
    """Collect pairs of full message name and field while the block runs. Not to be nested."""
    global _record, active
    if _record is not None:
        raise RuntimeError("readings are being recorded already")
    _record = set()
    active = True
    try:
        yield _record
    finally:
        _record = None
        active = False
