"""One form for rules that mean the same, so that what the kernel prints can be compared with what was planned.

The tools print a rule otherwise than it was given: `--set-mark 1337` comes back as `--set-xmark 0x539/0xffffffff`,
`tcp dport` loses its `meta l4proto tcp`, names become numbers, host bits vanish. The forms below undo that for the
words our own rules use. An unknown word is kept as it is: a rule with one equals none of ours, which is right.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Callable, Iterator

Key = tuple[str, ...]
"""The canonical form: equal keys mean equal rules."""

Resolve = Callable[[str, str], str]
"""(`uid` or `gid`, name) to the number as text; the name itself if nobody knows it."""

_SHORT = {
    "--source": "-s",
    "--destination": "-d",
    "--in-interface": "-i",
    "--out-interface": "-o",
    "--protocol": "-p",
    "--jump": "-j",
    "--to-port": "--to-ports",
    "--set-xmark": "--set-mark",
}
_FLAGS = frozenset({"--save-mark", "--restore-mark"})
_FULL_MASK = frozenset({"--nfmask", "--ctmask"})


def iptables_key(words: list[str], resolve: Resolve) -> Key:
    """The form of the words of an iptables rule, without its chain. Order and comments do not count."""
    return tuple(sorted(_iptables_parts(words, resolve)))


def iptables_words(text: str) -> list[str]:
    """The words of a line of iptables-save."""
    return shlex.split(text) if '"' in text else text.split()


def _iptables_parts(words: list[str], resolve: Resolve) -> Iterator[str]:
    negate, module = "", ""
    rest = iter(words)
    for word in rest:
        name = _SHORT.get(word, word)
        if name == "!":
            negate = "! "
            continue
        if name in _FLAGS:
            yield name
            continue
        value = next(rest, "")
        if name == "-m":
            module = value
            continue
        if name not in ("--comment", "--on-ip") and not (name in _FULL_MASK and value == "0xffffffff"):
            # A mark is the packet's or the connection's, and only the module in front tells which.
            prefix = f"{module} " if name == "--mark" else ""
            yield f"{negate}{prefix}{name} {_iptables_value(name, value, resolve)}"
        negate = ""


def _iptables_value(name: str, value: str, resolve: Resolve) -> str:
    match name:
        case "-s" | "-d":
            return network(value)
        case "--uid-owner" | "--gid-owner":
            return resolve(name[2:5], value)
        case "--mark" | "--set-mark" | "--tproxy-mark":
            return _mark(value)
        case "--ctstate" | "--dports" | "--sports":
            return ",".join(sorted(value.split(",")))
    return value


def nft_key(text: str, resolve: Resolve) -> Key:
    """The form of an nftables rule expression, given or listed."""
    text = re.sub(r"counter( packets \d+ bytes \d+)?", "", text.replace('"', ""))
    text = re.sub(r"\{ ([^}]*) \}", lambda match: "{" + ",".join(sorted(match[1].split(", "))) + "}", text)
    text = re.sub(r"\bct mark set meta mark\b", "ct mark set mark", text)
    text = re.sub(r"\bmeta (skuid|skgid|l4proto|mark|iifname|oifname)\b", r"\1", text)
    text = re.sub(r"\bmeta nfproto ipv[46] ", "", text)
    if re.search(r"\b(tcp|udp) [ds]port\b", text):
        text = re.sub(r"\bl4proto (tcp|udp) ", "", text)
    return tuple(_nft_words(text.split(), resolve))


def _nft_words(words: list[str], resolve: Resolve) -> Iterator[str]:
    """Values depend on the word before them, with `!=` or `set` possibly in between."""
    subject = ""
    for word in words:
        if word in ("!=", "set"):
            yield word
        elif subject in ("saddr", "daddr"):
            subject = ""
            yield network(word)
        elif subject in ("skuid", "skgid"):
            yield resolve(subject[2:], word)
            subject = ""
        elif subject == "mark" and re.fullmatch(r"0x[0-9a-f]+|[0-9]+", word):
            subject = ""
            yield str(int(word, 0))
        elif subject == "state":
            subject = ""
            yield ",".join(sorted(word.split(",")))
        else:
            subject = word
            yield word


def network(text: str) -> str:
    """A network without host bits, with its prefix."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text


def _mark(text: str) -> str:
    value, _, mask = text.partition("/")
    if mask and mask.lower() != "0xffffffff":
        return text
    try:
        return str(int(value, 0))
    except ValueError:
        return text
