"""What iptables-save shows, and how it differs from the plan.

Ours are the ISTIO_* chains, and in the built-in chains the rules that carry our comment or jump to an ISTIO_* chain.
Rules without a jump (an excluded interface, a mark) look like anybody's; the comment makes them ours, so that cleanup
finds them without knowing the options of the run that made them. Rules that istio-iptables installed carry no
comment: if there are ISTIO_* chains and no comment at all, a rule that equals a planned one counts as ours as well.

Positions among foreign rules are not compared, the order of our own is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .canonical import Key, Resolve, iptables_key, iptables_words
from .iptables_text import chains_of, rule_line, rule_words
from .rules import BUILTIN_CHAINS, OWN_CHAINS, Family, Jump, Plan, Rule, final_order

COMMENT = "meshproxy"
GUARD = "meshproxy-guard"
"""The comment of rules that drop new traffic while others are being repaired."""
NEW_TABLE = "meshproxy-table"
"""The comment where the table did not exist before us: nftables keeps a table once it was used, even empty, and
cleanup takes it away again."""


@dataclass(slots=True)
class Saved:
    """The rules of one family: table, chain, lines without `-A CHAIN`."""

    tables: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def rules(self, table: str, chain: str) -> list[str]:
        return self.tables.get(table, {}).get(chain, [])

    def own_chains(self, table: str) -> list[str]:
        return [chain for chain in self.tables.get(table, {}) if is_own_chain(chain)]

    def own_builtin(self, table: str, adopt: frozenset[Key], resolve: Resolve) -> list[tuple[str, str]]:
        """(chain, line) of our rules in the built-in chains; `adopt` holds keys that count as ours."""
        found = []
        for chain, lines in self.tables.get(table, {}).items():
            if is_own_chain(chain):
                continue
            for line in lines:
                words = iptables_words(line)
                if _is_ours(words) or (adopt and iptables_key(words, resolve) in adopt):
                    found.append((chain, line))
        return found

    @property
    def residue(self) -> bool:
        """Whether anything of ours is there."""
        return any(self.own_chains(table) or self.own_builtin(table, frozenset(), _as_is) for table in self.tables)

    def created_by_us(self, table: str) -> bool:
        """Whether the table was not there before us."""
        return any(NEW_TABLE in line for lines in self.tables.get(table, {}).values() for line in lines)

    @property
    def commented(self) -> bool:
        return any(COMMENT in line for chains in self.tables.values() for lines in chains.values() for line in lines)


def _as_is(_kind: str, name: str) -> str:
    return name


def is_own_chain(chain: str) -> bool:
    """Whether the chain is ours, or was in another version: nobody else's begin with ISTIO_."""
    return chain in OWN_CHAINS or chain.startswith("ISTIO_")


def parse(text: str) -> Saved:
    """The output of iptables-save; counters are not kept."""
    saved = Saved()
    chains: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            chains = saved.tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            chains.setdefault(line[1:].split()[0], [])
        elif line.startswith("-A "):
            _, chain, rest = line.split(" ", 2)
            chains.setdefault(chain, []).append(rest)
    return saved


def _is_ours(words: list[str]) -> bool:
    if "-j" in words and is_own_chain(words[words.index("-j") + 1]):
        return True
    return "--comment" in words and words[words.index("--comment") + 1].startswith(COMMENT)


def adoptable(plan: Plan, family: Family, saved: Saved, resolve: Resolve) -> frozenset[Key]:
    """Keys of planned rules in built-in chains, if the rules in place were made without comments."""
    if saved.commented or not saved.residue:
        return frozenset()
    rules = [rule for rule in plan.of(family) if rule.chain in BUILTIN_CHAINS]
    return frozenset(iptables_key(rule_words(rule), resolve) for rule in rules)


def drift(plan: Plan, family: Family, saved: Saved, resolve: Resolve) -> list[str]:
    """How the rules in place differ from the plan, one line each; empty if they do not."""
    found: list[str] = []
    expected = final_order(plan.of(family))
    adopt = adoptable(plan, family, saved, resolve)
    planned_chains = {(table, name) for table, name in expected} | _jumped_to(plan.of(family))
    for table, chains in saved.tables.items():
        for chain in chains:
            if is_own_chain(chain) and (table, chain) not in planned_chains:
                found.append(f"IPv{family} {table}: chain {chain} is not planned")
    for table, chain in sorted(planned_chains):
        if is_own_chain(chain) and chain not in saved.tables.get(table, {}):
            found.append(f"IPv{family} {table}: chain {chain} is missing")
    by_chain: dict[tuple[str, str], list[str]] = {}
    for table in saved.tables:
        for chain in saved.own_chains(table):
            by_chain[table, chain] = saved.rules(table, chain)
        for chain, line in saved.own_builtin(table, adopt, resolve):
            by_chain.setdefault((table, chain), []).append(line)
    for place in sorted({*by_chain, *expected}):
        found += _compare(family, place, expected.get(place, []), by_chain.get(place, []), resolve)
    return found


def _compare(
    family: Family, place: tuple[str, str], expected: list[Rule], lines: list[str], resolve: Resolve
) -> list[str]:
    where = f"IPv{family} {place[0]} {place[1]}"
    wanted = [(iptables_key(rule_words(rule), resolve), rule_line(rule)) for rule in expected]
    there = [(iptables_key(iptables_words(line), resolve), line) for line in lines]
    if [key for key, _ in wanted] == [key for key, _ in there]:
        return []
    missing = _without(wanted, there)
    extra = _without(there, wanted)
    found = [f"{where}: missing: {text}" for text in missing] + [f"{where}: extra: {text}" for text in extra]
    return found or [f"{where}: the order has changed"]


def _without(these: list[tuple[Key, str]], those: list[tuple[Key, str]]) -> list[str]:
    """The texts of `these` that have no counterpart in `those`, each counterpart counting once."""
    left = [key for key, _ in those]
    found = []
    for key, text in these:
        if key in left:
            left.remove(key)
        else:
            found.append(text)
    return found


def _jumped_to(rules: tuple[Rule, ...]) -> set[tuple[str, str]]:
    return {(rule.table, rule.verdict.chain) for rule in rules if isinstance(rule.verdict, Jump)}


def repair_text(plan: Plan | None, family: Family, saved: Saved, resolve: Resolve, leave: str = "") -> str:
    """Text for `iptables-restore --noflush` that turns what is in place into the plan; None removes everything.

    `:CHAIN - [0:0]` creates a chain or empties it; our rules in built-in chains are taken out by their text and put
    back in order. Each table changes at once. leave: a table that is not touched.
    """
    rules = plan.of(family) if plan else ()
    adopt = adoptable(plan, family, saved, resolve) if plan else frozenset()
    tables = sorted({*(rule.table for rule in rules), *saved.tables} - {leave})
    return "".join(
        _repair_table(table, [rule for rule in rules if rule.table == table], saved, adopt, resolve) for table in tables
    )


def guard_text(saved: Saved, on: bool) -> str:
    """Text that drops all TCP and UDP, or stops doing so; rules of a run that was interrupted go in either case."""
    lines = [
        f"-D {chain} {line}"
        for chain, rules in saved.tables.get("filter", {}).items()
        for line in rules
        if GUARD in iptables_words(line)
    ]
    if on:
        lines += [
            f"-I {chain} 1 -p {protocol} -m comment --comment {GUARD} -j DROP"
            for chain in ("INPUT", "FORWARD", "OUTPUT")
            for protocol in ("tcp", "udp")
        ]
    return "\n".join(["*filter", *lines, "COMMIT", ""])


def _repair_table(table: str, rules: list[Rule], saved: Saved, adopt: frozenset[Key], resolve: Resolve) -> str:
    wanted = chains_of(rules)
    stale = [chain for chain in saved.own_chains(table) if chain not in wanted]
    lines = [f":{chain} - [0:0]" for chain in [*wanted, *stale]]
    lines += [f"-D {chain} {line}" for chain, line in saved.own_builtin(table, adopt, resolve)]
    comment = NEW_TABLE if table not in saved.tables or saved.created_by_us(table) else COMMENT
    lines += [_applied_line(rule, comment) for rule in rules]
    lines += [f"-X {chain}" for chain in stale]
    return "\n".join([f"*{table}", *lines, "COMMIT", ""]) if lines else ""


def _applied_line(rule: Rule, comment: str) -> str:
    """The rule as it is installed: in a built-in chain it carries our comment."""
    line = rule_line(rule)
    if rule.chain in BUILTIN_CHAINS:
        return line.replace(" -j ", f" -m comment --comment {comment} -j ", 1)
    return line
