"""Route tables of which most was checked before: of thousands of virtual hosts one or two change at a time.

A virtual host is known by its bytes. What is wrong with a table is for the check of the whole to say, which names the
place of each fault.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config.text.constraints import check_unpacked
from meshproxy.steps import Steps

_MOST = 20_000
_AT_ONCE = 200


class CheckedHosts:
    """Virtual hosts that keep the API's rules, and of each whether all of it was checked (`check_unpacked`)."""

    def __init__(self) -> None:
        self._known: dict[bytes, bool] = {}

    def check(self, table: Any) -> Steps[bool | None]:
        """Whether all of a `RouteConfiguration` was checked, and keeps the rules; None when it may break some.

        A step is a virtual host that is new, or some that aren't.
        """
        rest = type(table)()
        for field, value in table.ListFields():
            if field.name == "virtual_hosts":
                continue
            if field.is_repeated:
                getattr(rest, field.name).MergeFrom(value)
            elif field.message_type is not None:
                getattr(rest, field.name).CopyFrom(value)
            else:
                setattr(rest, field.name, value)
        problems, complete = check_unpacked(rest)
        if problems:
            return None
        if len(self._known) > _MOST:
            self._known.clear()
        for number, host in enumerate(table.virtual_hosts):
            if number % _AT_ONCE == _AT_ONCE - 1:
                yield
            packed = host.SerializeToString(deterministic=True)
            known = self._known.get(packed)
            if known is None:
                problems, known = check_unpacked(host)
                if problems:
                    return None
                self._known[packed] = known
                yield
            complete = complete and known
        return complete
