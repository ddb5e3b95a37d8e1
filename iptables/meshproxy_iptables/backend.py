"""What the ways of installing rules have in common."""

from __future__ import annotations

import grp
import pwd
from typing import Protocol

from .rules import Plan


class Backend(Protocol):
    """One way of installing a plan. Each method raises BackendError if the way is not open here."""

    @property
    def name(self) -> str:
        """For messages, such as `iptables-nft`."""
        ...

    def drift(self, plan: Plan) -> list[str]:
        """How the rules in place differ from the plan; empty if they are in place."""
        ...

    def present(self) -> bool:
        """Whether anything of ours is in place."""
        ...

    def apply(self, plan: Plan, *, guard: bool) -> None:
        """Installs the plan over whatever is in place. guard: block new traffic where that takes several steps."""
        ...

    def remove(self) -> None:
        """Removes what is ours and leaves the rest as it is."""
        ...


def resolve(kind: str, name: str) -> str:
    """A user (`uid`) or group (`gid`) name as its number; the name itself if nobody knows it."""
    if name.isdigit():
        return name
    try:
        return str(grp.getgrnam(name).gr_gid if kind == "gid" else pwd.getpwnam(name).pw_uid)
    except KeyError:
        return name
