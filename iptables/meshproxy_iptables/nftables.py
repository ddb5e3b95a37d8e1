"""Native nftables as a backend: three tables of our own, replaced in one transaction.

Everything changes at once, over all tables and both families, without a lock. Nothing of anybody else is touched,
so cleanup is exact. The transaction first deletes our tables and then makes them anew, so that no chain of an earlier
run with other options stays; what follows the deletion is the text of `--dry-run --format nft`, and
for TPROXY what `nft_text.render_installed` adds to it.
"""

from __future__ import annotations

from . import nft_text
from .backend import resolve
from .canonical import Key, nft_key
from .processes import installed, run
from .rules import Plan

NFT = "nft"
_HEADS = ("type ", "policy ", "comment ")


class Nftables:
    """`nft` of this host."""

    name = "native nftables"

    def installed(self) -> bool:
        return installed(NFT)

    def drift(self, plan: Plan) -> list[str]:
        return compare(expected_tables(nft_text.render_installed(plan)), listed_tables(self._list()))

    def present(self) -> bool:
        return bool(listed_tables(self._list()))

    def apply(self, plan: Plan, *, guard: bool) -> None:
        """guard has no meaning here: there is no moment between the old and the new rules."""
        run([NFT, "-f", "-"], nft_text.render_cleanup() + nft_text.render_installed(plan))

    def remove(self) -> None:
        run([NFT, "-f", "-"], nft_text.render_cleanup())

    def _list(self) -> str:
        return run([NFT, "list", "ruleset", "inet"])


Tables = dict[str, dict[str, list[tuple[Key, str]]]]
"""Table, chain, rules as (key, text). A base chain's first entry is its hook."""


def expected_tables(text: str) -> Tables:
    """The tables as they stand after our own transaction."""
    tables: Tables = {}
    for line in text.splitlines():
        verb, what, _, table, *rest = line.split(" ")
        chains = tables.setdefault(table, {})
        if what == "chain":
            chains[rest[0]] = []
        elif what == "rule" and verb == "add":
            expression = " ".join(rest[1:])
            chains[rest[0]].append((nft_key(expression, resolve), expression))
        elif what == "rule":
            expression = " ".join(rest[3:])
            chains[rest[0]].insert(int(rest[2]), (nft_key(expression, resolve), expression))
    return tables


def listed_tables(text: str) -> Tables:
    """Our tables out of the listing of a ruleset."""
    tables: Tables = {}
    ours = set(nft_text.TABLES.values())
    chains: dict[str, list[tuple[Key, str]]] | None = None
    rules: list[tuple[Key, str]] | None = None
    for raw in text.splitlines():
        line = raw.strip()
        words = line.split()
        if not words:
            continue
        if words[0] == "table":
            chains = tables.setdefault(words[2], {}) if words[2] in ours else None
        elif words[0] == "chain" and line.endswith("{"):
            rules = chains.setdefault(words[1], []) if chains is not None else None
        elif line == "}":
            rules = None
        elif rules is not None and not line.startswith(_HEADS):
            rules.append((nft_key(line, resolve), line))
    return tables


def compare(expected: Tables, there: Tables) -> list[str]:
    """How the tables in place differ, one line each."""
    found = []
    for table in sorted({*expected, *there}):
        if table not in there:
            found.append(f"table inet {table} is missing")
            continue
        if table not in expected:
            found.append(f"table inet {table} is not planned")
            continue
        for chain in sorted({*expected[table], *there[table]}):
            where = f"table inet {table} chain {chain}"
            found += _compare_chain(where, expected[table].get(chain), there[table].get(chain))
    return found


def _compare_chain(where: str, wanted: list[tuple[Key, str]] | None, there: list[tuple[Key, str]] | None) -> list[str]:
    if there is None:
        return [f"{where}: missing"]
    if wanted is None:
        return [f"{where}: not planned"]
    wanted_keys, there_keys = [key for key, _ in wanted], [key for key, _ in there]
    if wanted_keys == there_keys:
        return []
    found = [f"{where}: missing: {text}" for key, text in wanted if key not in there_keys]
    found += [f"{where}: extra: {text}" for key, text in there if key not in wanted_keys]
    return found or [f"{where}: the order or the number of rules has changed"]
