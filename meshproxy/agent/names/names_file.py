"""A name table from a file (`DNS_NAME_TABLE`), read again when it changes.

The file is JSON as Istio's `NameTable` prints: `{"table": {host: {"ips": [...], "registry": ..., ...}}}`. One that
can't be read is reported and what was known goes on being answered.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

from meshproxy.agent.names.name_table import NameTable
from meshproxy.plugin.context import Logger

_EVERY = 1.0


def read_names(path: Path, make: Callable[..., NameTable]) -> NameTable:
    """The table in a file. Raises OSError, ValueError."""
    try:
        given = json.loads(path.read_text())
        table = given.get("table", {})
        if not isinstance(table, dict):
            raise ValueError("'table' is not a mapping")
    except (AttributeError, RecursionError) as error:
        raise ValueError(f"{path} holds no name table: {error}") from None
    return make(table)


async def watch_names(
    path: Path, make: Callable[..., NameTable], use: Callable[[NameTable], None], log: Logger, every: float = _EVERY
) -> None:
    """Read the file now and whenever it changes, until cancelled. every: seconds between two looks."""
    seen: tuple[int, int, int] | None = None
    while True:
        try:
            status = os.stat(path)
            mark = (status.st_mtime_ns, status.st_ino, status.st_size)
            if mark != seen:
                seen = mark
                table = read_names(path, make)
                use(table)
                log.info("name table read", path=str(path), names=len(table))
        except (OSError, ValueError) as error:
            log.warning("the name table can't be used; the last one stays", path=str(path), error=str(error))
        await asyncio.sleep(every)
