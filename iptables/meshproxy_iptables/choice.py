"""Which backend: those to try, in order, each with the reason for whoever reads the log.

A flag decides alone. Without one:

1. iptables-legacy, if its rules are in use here (its dump has three lines or more: Istio's test). Rules of one kind
   keep an order that is known; legacy and nftables side by side have none.
2. native nftables: one transaction, no lock, exact cleanup.
3. iptables-nft, iptables-legacy, and whatever `iptables` is.

A backend counts as usable if it installs the rules. Probing with a rule of its own would tell less, and leaves empty
tables behind.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import BackendError
from .log import Say
from .nftables import Nftables
from .processes import run
from .settings import Settings
from .xtables import Xtables, legacy_tables

USED = 3
"""Lines in a dump from which on a backend counts as in use."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend to try, and why it comes up."""

    backend: Nftables | Xtables
    reason: str


def candidates(settings: Settings, say: Say) -> list[Candidate]:
    """What to try, in order. Raises BackendError if nothing is installed."""
    if settings.native_nftables:
        return [Candidate(Nftables(), "--native-nftables")]
    if settings.force_binary:
        backend = Xtables(settings.force_binary, say, settings.lock_file)
        return [Candidate(backend, f"--force-iptables-binary={settings.force_binary}")]
    found = []
    legacy = Xtables("legacy", say, settings.lock_file)
    if _legacy_in_use(legacy):
        found.append(Candidate(legacy, "rules of iptables-legacy are in use here, and its kind has to stay one"))
    found += _installed(say, settings.lock_file, without="iptables-legacy" if found else "")
    if not found:
        raise BackendError("neither nft nor iptables is installed")
    return found


def everywhere(settings: Settings, say: Say) -> list[Nftables | Xtables]:
    """Every installed backend: rules may be in any of them."""
    backends: list[Nftables | Xtables] = [candidate.backend for candidate in _installed(say, settings.lock_file, "")]
    names = {backend.name for backend in backends}
    # Without a suffix it is one of the other two again.
    return [b for b in backends if b.name != "iptables" or not names & {"iptables-nft", "iptables-legacy"}]


def _installed(say: Say, lock_file: str, without: str) -> list[Candidate]:
    found = [
        Candidate(Nftables(), "the default: one transaction, no lock, tables of our own"),
        Candidate(Xtables("nft", say, lock_file), "the next choice"),
        Candidate(Xtables("legacy", say, lock_file), "the next choice"),
        Candidate(Xtables("", say, lock_file), "the last choice"),
    ]
    return [entry for entry in found if entry.backend.installed() and entry.backend.name != without]


def _legacy_in_use(legacy: Xtables) -> bool:
    if not legacy_tables() or not legacy.installed():
        return False
    try:
        lines = run(["iptables-legacy-save"]).splitlines()
    except BackendError:
        return False
    return sum(1 for line in lines if line.startswith("-A")) > 0 and len(lines) >= USED
