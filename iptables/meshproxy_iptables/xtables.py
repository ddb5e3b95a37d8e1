"""iptables as a backend: iptables-legacy, iptables-nft, or whatever `iptables` is here.

One `iptables-restore --noflush` per family installs everything: each table changes at once, and foreign rules stay.
iptables-legacy serialises writers by a lock file and is told to wait; we say so if somebody holds it.
"""

from __future__ import annotations

import fcntl
import os
from functools import cached_property

from . import nfnetlink, xtables_state
from .backend import resolve
from .errors import BackendError
from .log import Say
from .processes import installed, read_file, run
from .rules import Family, Plan
from .xtables_state import Saved

LOCK_FILE = "/run/xtables.lock"
LOCK_SECONDS = 30
FAMILIES: tuple[Family, Family] = (4, 6)


class Xtables:
    """iptables of one kind. kind: `legacy`, `nft`, or "" for the binaries without a suffix."""

    def __init__(self, kind: str, say: Say, lock_file: str = "") -> None:
        self._suffix = f"-{kind}" if kind else ""
        self._kind = kind
        self._say = say
        self._lock_file = lock_file
        self.name = f"iptables{self._suffix}"

    def installed(self) -> bool:
        return installed(self._binary(4, "-restore"))

    def drift(self, plan: Plan) -> list[str]:
        return [line for family in FAMILIES for line in self._family_drift(plan, family, self.save(family))]

    def present(self) -> bool:
        if self._kind == "legacy" and not legacy_tables():
            return False
        return any(self.save(family).residue for family in FAMILIES)

    def apply(self, plan: Plan, *, guard: bool) -> None:
        self._locked_by_someone()
        for family in FAMILIES if plan.ipv6 else FAMILIES[:1]:
            before = self.save(family)
            if guard:
                self._restore(family, xtables_state.guard_text(before, on=True))
            try:
                self._restore(family, xtables_state.repair_text(plan, family, before, resolve, leave="filter" * guard))
            finally:
                if guard:
                    self._restore(family, xtables_state.guard_text(self.save(family), on=False))
            self._tidy(family, before)
        if not plan.ipv6:
            self._remove_family(6)

    def remove(self) -> None:
        self._locked_by_someone()
        for family in FAMILIES:
            self._remove_family(family)

    def save(self, family: Family) -> Saved:
        """What is in place; an absent or unusable IPv6 tool counts as no rules."""
        try:
            return xtables_state.parse(run([self._binary(family, "-save")]))
        except BackendError:
            if family == 6:
                return Saved()
            raise

    def _family_drift(self, plan: Plan, family: Family, saved: Saved) -> list[str]:
        if family == 6 and not plan.ipv6:
            return ["IPv6: rules are in place, and IPv6 is off"] if saved.residue else []
        return xtables_state.drift(plan, family, saved, resolve)

    def _remove_family(self, family: Family) -> None:
        before = self.save(family)
        if before.residue:
            self._restore(family, xtables_state.repair_text(None, family, before, resolve))
            self._tidy(family, before)

    def _tidy(self, family: Family, before: Saved) -> None:
        """Takes away tables of iptables-nft that we made and that are empty now."""
        if self._legacy or not before.residue:
            return
        for table in self.save(family).tables:
            if before.created_by_us(table) or table not in before.tables:
                nfnetlink.delete_empty_table(family, table)

    def _restore(self, family: Family, text: str) -> None:
        argv = [self._binary(family, "-restore"), "--noflush"]
        if self._legacy:
            argv.append(f"--wait={LOCK_SECONDS}")
        run(argv, text, {"XTABLES_LOCKFILE": lock} if (lock := self._lock_for_tools()) else None)

    def _lock_for_tools(self) -> str:
        """The lock file to name to the tools; "" if they should use their own.

        Where the network namespace is the lock file, we hold that lock ourselves for the whole run, and the tools
        would wait for us. The same where a read-only root leaves no place for a lock file.
        """
        if self._lock_file:
            return os.devnull if _same_file(self._lock_file, "/proc/self/ns/net") else self._lock_file
        return "" if os.access(os.path.dirname(LOCK_FILE), os.W_OK) else os.devnull

    def _binary(self, family: Family, tool: str) -> str:
        return f"{'ip6tables' if family == 6 else 'iptables'}{self._suffix}{tool}"

    @cached_property
    def _legacy(self) -> bool:
        if self._kind:
            return self._kind == "legacy"
        try:
            return "nf_tables" not in run([self._binary(4, ""), "--version"])
        except BackendError:
            # So old that it knows no --version, and so old that it is legacy.
            return True

    def _locked_by_someone(self) -> None:
        """Says that there will be a wait, if the lock of iptables-legacy is taken."""
        if not self._legacy or self._lock_for_tools() == os.devnull:
            return
        path = self._lock_file or LOCK_FILE
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._say(f"waiting up to {LOCK_SECONDS} s for the xtables lock {path}, which another program holds")
        finally:
            os.close(descriptor)


def _same_file(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def legacy_tables() -> list[str]:
    """The tables of iptables-legacy that exist in this network namespace; asking creates none."""
    names: list[str] = []
    for path in ("/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"):
        names += read_file(path).split()
    return names
