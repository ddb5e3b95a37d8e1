"""The command line and the environment: the flags of istio-iptables, plus a few of our own.

Names, short forms, defaults and variables follow `tools/istio-iptables/pkg/cmd/root.go`. A flag beats its variable; an
empty variable counts as unset. Where Istio ignores a variable that does not parse, we refuse it: a typing error in a
security setting must not go unnoticed. Flags of a yes-or-no kind take `--flag`, `--flag=true` and `--flag=false`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import OptionsError


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `env` lists its variables, the first that is set counts; `metavar` "" marks a yes-or-no flag."""

    name: str
    metavar: str
    default: str
    help: str
    short: str = ""
    more_env: tuple[str, ...] = ()
    has_env: bool = True

    @property
    def env(self) -> tuple[str, ...]:
        """Istio's rule: the flag in upper case with underscores."""
        return (self.name.upper().replace("-", "_"), *self.more_env) if self.has_env else self.more_env


@dataclass(frozen=True, slots=True)
class Value:
    """The text of a flag, and where it came from as the user wrote it."""

    text: str
    source: str
    given: bool


CAPTURE = (
    Flag("envoy-port", "PORT", "15001", "where outbound TCP is redirected to", "p", has_env=False),
    Flag("inbound-capture-port", "PORT", "15006", "where inbound TCP is redirected to", "z"),
    Flag("inbound-tunnel-port", "PORT", "15008", "HBONE port: never captured, exempt from the hairpin", "e"),
    Flag("proxy-uid", "UIDS", "", "uids of the proxy, exempt [uid of $ENVOY_USER, or of istio-proxy, or 1337]", "u"),
    Flag("proxy-gid", "GIDS", "", "gids of the proxy, exempt [same as the uids]", "g"),
    Flag(
        "istio-inbound-interception-mode",
        "MODE",
        "",
        "REDIRECT, or TPROXY: inbound keeps the client's address",
        "m",
    ),
    Flag("istio-inbound-ports", "PORTS", "", "inbound ports to capture, '*' for all [none]", "b"),
    Flag("istio-local-exclude-ports", "PORTS", "", "inbound ports to leave out of '-b *'", "d"),
    Flag("istio-exclude-interfaces", "NAMES", "", "interfaces with no capture in either direction", "c"),
    Flag("istio-service-cidr", "CIDRS", "", "destinations to capture, IPv4 and IPv6, '*' for all [none]", "i"),
    Flag("istio-service-exclude-cidr", "CIDRS", "", "destinations to leave out", "x"),
    Flag("istio-outbound-ports", "PORTS", "", "destination ports to capture wherever they go", "q"),
    Flag("istio-local-outbound-ports-exclude", "PORTS", "", "destination ports never captured, TCP and UDP", "o"),
    Flag("kube-virt-interfaces", "NAMES", "", "interfaces of virtual machines: their inbound is outbound", "k"),
    Flag("istio-inbound-tproxy-mark", "MARK", "1337", "packet mark for TPROXY", "t"),
    Flag("istio-inbound-tproxy-route-table", "TABLE", "133", "routing table for TPROXY", "r"),
    Flag(
        "redirect-dns",
        "",
        "false",
        "capture DNS to the resolvers of /etc/resolv.conf",
        more_env=("ISTIO_META_DNS_CAPTURE",),
    ),
    Flag("capture-all-dns", "", "false", "capture DNS to any resolver (with --redirect-dns)"),
    Flag("dns-servers-v4", "ADDRESSES", "", "IPv4 resolvers to capture, instead of /etc/resolv.conf", has_env=False),
    Flag("dns-servers-v6", "ADDRESSES", "", "IPv6 resolvers to capture, instead of /etc/resolv.conf", has_env=False),
    Flag(
        "drop-invalid", "", "false", "drop packets that connection tracking finds invalid", more_env=("INVALID_DROP",)
    ),
    Flag(
        "dual-stack",
        "",
        "false",
        "install IPv6 rules if the pod has any IPv6 address",
        more_env=("ISTIO_DUAL_STACK",),
    ),
    Flag("ipv6", "auto|on|off", "auto", "install IPv6 rules; auto: if the pod's first address is IPv6", has_env=False),
)
"""Flags that decide which traffic is captured."""

ENVIRONMENT_ONLY = (
    Flag("istio-outbound-ipv4-loopback-cidr", "CIDR", "127.0.0.1/32", "IPv4 networks that count as localhost"),
    Flag("istio-outbound-owner-groups", "GROUPS", "*", "capture only processes of these groups"),
    Flag("istio-outbound-owner-groups-exclude", "GROUPS", "", "do not capture processes of these groups"),
    Flag("envoy-user", "NAME", "istio-proxy", "the user whose uid is the default of --proxy-uid"),
    Flag("dry-run-file-path", "PATH", "", "--dry-run writes its text to this file as well"),
    Flag("xtables-lockfile", "PATH", "", "the lock file of iptables-legacy [/run/xtables.lock]"),
)
"""Settings that istio-iptables takes from the environment only."""

RUN = (
    Flag("dry-run", "", "false", "print what would be installed, and install nothing", "n"),
    Flag(
        "format",
        "FORMAT",
        "",
        "of --dry-run: iptables-restore, nft, or explain [nft with --native-nftables]",
        has_env=False,
    ),
    Flag("native-nftables", "", "false", "use nftables tables of our own, and nothing else"),
    Flag("force-iptables-binary", "legacy|nft", "", "use iptables-legacy or iptables-nft, and nothing else"),
    Flag("cleanup-only", "", "false", "remove what was installed, and install nothing"),
    Flag("reconcile", "", "false", "block new traffic while drifted rules are being repaired"),
    Flag("force-apply", "", "false", "install the rules again although they are in place"),
    Flag("run-validation", "", "false", "prove with real connections that traffic is captured; exit 126 if not"),
    Flag("skip-rule-apply", "", "false", "install nothing; with --run-validation"),
    Flag("iptables-probe-port", "PORT", "15002", "the port that validation asks for"),
    Flag("probe-timeout", "DURATION", "5s", "how long validation tries"),
    Flag("network-namespace", "PATH", "", "work in this network namespace; also the lock file of iptables-legacy"),
    Flag(
        "log_output_level",
        "LEVEL",
        "info",
        "none, error, warn, info or debug; Istio's `default:info` too",
        has_env=False,
    ),
    Flag("log_as_json", "", "false", "write messages as JSON", has_env=False),
    Flag("cni-mode", "", "false", "run on the host's files for a pod: names are not looked up over the network"),
)
"""Flags that decide how the run goes."""

ALL = CAPTURE + RUN + ENVIRONMENT_ONLY
_BY_NAME = {flag.name: flag for flag in CAPTURE + RUN}
_BY_SHORT = {flag.short: flag for flag in CAPTURE + RUN if flag.short}
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})

_EPILOG = """\
Each flag can be given by an environment variable: its name in upper case with underscores (PROXY_UID for
--proxy-uid; a flag wins), but for --envoy-port, --ipv6, --dns-servers-v4, --dns-servers-v6, --format and --log_….
By variable alone:
"""

_DESCRIPTION = """\
Sends the TCP traffic of this network namespace through the proxy: outbound to port 15001, inbound to 15006.
Run twice it changes nothing; --cleanup-only puts back what was there before. `check` compares and reports.
"""


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[str, dict[str, Value]]:
    """The command (`apply` or `check`) and a value for each flag of `ALL`.

    Raises SystemExit as argparse does: 0 after --help, 2 for an unknown flag.
    """
    rest, given = _take_booleans(argv)
    namespace = _parser().parse_args(rest)
    for flag in CAPTURE + RUN:
        text = getattr(namespace, flag.name.replace("-", "_"))
        if text is not None and flag.name not in given:
            given[flag.name] = text
    return namespace.command or "apply", {flag.name: _value(flag, given, environ) for flag in ALL}


def boolean(value: Value) -> bool:
    """The words that Go's `strconv.ParseBool` takes."""
    if value.text in _TRUE:
        return True
    if value.text in _FALSE:
        return False
    raise OptionsError(value.source, f"{value.text!r} is neither true nor false")


def _value(flag: Flag, given: Mapping[str, str], environ: Mapping[str, str]) -> Value:
    if flag.name in given:
        return Value(given[flag.name], f"--{flag.name}", True)
    for variable in flag.env:
        if environ.get(variable):
            return Value(environ[variable], variable, True)
    source = flag.env[0] if flag in ENVIRONMENT_ONLY else f"--{flag.name}"
    return Value(flag.default, source, False)


def _take_booleans(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Takes `--flag=false` out: argparse knows yes-or-no flags only without a value, or always with one."""
    rest: list[str] = []
    given: dict[str, str] = {}
    for argument in argv:
        name, equals, text = argument.partition("=")
        flag = _BY_NAME.get(name[2:]) if name.startswith("--") else _BY_SHORT.get(name[1:]) if name[:1] == "-" else None
        if flag is not None and equals and not flag.metavar:
            given[flag.name] = text
        else:
            rest.append(argument)
    return rest, given


def _parser() -> argparse.ArgumentParser:
    epilog = _EPILOG + "\n".join(
        f"  {flag.env[0]:<36} {flag.help} [{flag.default or 'none'}]" for flag in ENVIRONMENT_ONLY
    )
    parser = argparse.ArgumentParser(
        prog="meshproxy-iptables",
        description=_DESCRIPTION,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", nargs="?", choices=("apply", "check"), help="apply (the default), or check")
    _add(parser.add_argument_group("what is captured"), CAPTURE)
    _add(parser.add_argument_group("how it is done"), RUN)
    return parser


def _add(group: argparse._ArgumentGroup, flags: Sequence[Flag]) -> None:
    for flag in flags:
        names = [f"-{flag.short}"] if flag.short else []
        default = f" [{flag.default}]" if flag.metavar and flag.default else ""
        text = (flag.help + default).replace("%", "%%")
        if flag.metavar:
            group.add_argument(*names, f"--{flag.name}", metavar=flag.metavar, help=text)
        else:
            group.add_argument(*names, f"--{flag.name}", action="store_const", const="true", help=text)
