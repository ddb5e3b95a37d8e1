"""Flags and environment: names, precedence, defaults, and what is refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from meshproxy_iptables import flags, settings
from meshproxy_iptables.errors import OptionsError
from meshproxy_iptables.options import Options
from meshproxy_iptables.settings import Settings, Surroundings

ISTIO_FLAGS = {
    "envoy-port": "p", "inbound-capture-port": "z", "inbound-tunnel-port": "e", "proxy-uid": "u", "proxy-gid": "g",
    "istio-inbound-interception-mode": "m", "istio-inbound-ports": "b", "istio-local-exclude-ports": "d",
    "istio-exclude-interfaces": "c", "istio-service-cidr": "i", "istio-service-exclude-cidr": "x",
    "istio-outbound-ports": "q", "istio-local-outbound-ports-exclude": "o", "kube-virt-interfaces": "k",
    "istio-inbound-tproxy-mark": "t", "istio-inbound-tproxy-route-table": "r", "dry-run": "n",
    "iptables-probe-port": "", "probe-timeout": "", "skip-rule-apply": "", "run-validation": "", "redirect-dns": "",
    "capture-all-dns": "", "drop-invalid": "", "dual-stack": "", "network-namespace": "", "cni-mode": "",
    "reconcile": "", "cleanup-only": "", "force-apply": "", "native-nftables": "", "force-iptables-binary": "",
}  # fmt: skip


def around(
    ipv6: bool = False, dual: bool = False, v4: tuple[str, ...] = (), v6: tuple[str, ...] = (), uid: int | None = None
) -> Surroundings:
    return Surroundings(
        has_ipv6=lambda dual_stack: dual if dual_stack else ipv6, resolvers=lambda: (v4, v6), user_id=lambda name: uid
    )


def read(
    *argv: str, environ: Mapping[str, str] | None = None, surroundings: Surroundings | None = None
) -> tuple[Options, Settings, tuple[str, ...]]:
    _, values = flags.parse(argv, environ or {})
    return settings.read(values, surroundings or around())


def refused(*argv: str, **environ: str) -> str:
    with pytest.raises(OptionsError) as caught:
        read(*argv, environ=environ)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_every_flag_of_istio_exists_with_its_short_form() -> None:
    ours = {flag.name: flag.short for flag in flags.CAPTURE + flags.RUN}
    assert {name: ours.get(name) for name in ISTIO_FLAGS} == ISTIO_FLAGS


def test_the_defaults_are_istios() -> None:
    options, how, warnings = read()
    assert options == Options()
    assert (how.probe_port, how.probe_timeout, warnings) == (15002, 5.0, ())


def test_the_command_line_of_the_injector() -> None:
    text = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x _ -b * -d 15090,15021,15020 --log_output_level=default:info"
    argv = ["" if word == "_" else word for word in text.split()]
    options, _, _ = read(*argv)
    assert options.outbound_all
    assert options.inbound_all
    assert options.inbound_ports_exclude == (15090, 15021, 15020)


@pytest.mark.parametrize("name", [name for name in ISTIO_FLAGS if name != "envoy-port"])
def test_each_flag_has_its_variable(name: str) -> None:
    variable = name.upper().replace("-", "_")
    flag = next(flag for flag in flags.ALL if flag.name == name)
    assert flag.env[0] == variable
    _, values = flags.parse([], {variable: "x"})
    assert (values[name].text, values[name].source) == ("x", variable)


def test_what_is_not_istios_has_no_variable() -> None:
    """Nor has --envoy-port. Names such as IPV6 or FORMAT may mean anything in a container."""
    assert read(environ={"ENVOY_PORT": "1"})[0].proxy_port == 15001
    for name in ("IPV6", "FORMAT", "DNS_SERVERS_V4", "LOG_AS_JSON", "LOG_OUTPUT_LEVEL"):
        assert read(environ={name: "anything"})[0] == Options()


@pytest.mark.parametrize("variable", ["REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"])
def test_variables_with_a_second_name(variable: str) -> None:
    assert read(environ={variable: "true"}, surroundings=around(v4=("10.0.0.1",)))[0].dns
    assert read(environ={"INVALID_DROP": "1"})[0].drop_invalid
    assert read(environ={"ISTIO_DUAL_STACK": "T"}, surroundings=around(dual=True))[0].ipv6


def test_a_flag_beats_its_variable_and_an_empty_variable_is_none() -> None:
    environ = {"PROXY_UID": "7", "ISTIO_SERVICE_CIDR": "10.0.0.0/8", "DROP_INVALID": "true", "INBOUND_TUNNEL_PORT": ""}
    options, _, _ = read("-u", "8", "--drop-invalid=false", environ=environ)
    assert (options.proxy_uids, options.proxy_gids, options.drop_invalid) == (("8",), ("8",), False)
    assert [str(cidr) for cidr in options.outbound_cidrs] == ["10.0.0.0/8"]
    assert options.inbound_tunnel_port == 15008


def test_yes_or_no_flags() -> None:
    for words, expected in ((["-n"], True), (["--dry-run=true"], True), (["-n=0"], False), (["--dry-run=F"], False)):
        assert read(*words)[1].dry_run is expected
    assert "--dry-run: 'yes' is neither true nor false" in refused("--dry-run=yes")


def test_the_uid_of_the_proxys_user_is_the_default() -> None:
    assert read(surroundings=around(uid=5000))[0].proxy_gids == ("5000",)


def test_variables_without_a_flag() -> None:
    environ = {
        "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": "127.0.0.1/8",
        "ISTIO_OUTBOUND_OWNER_GROUPS": "java,202",
        "XTABLES_LOCKFILE": "/x",
        "DRY_RUN_FILE_PATH": "/y",
    }
    options, how, _ = read(environ=environ)
    assert (options.loopback_cidr, options.owner_groups) == ("127.0.0.1/8", ("java", "202"))
    assert (how.lock_file, how.dry_run_file) == ("/x", "/y")


def test_lists_tolerate_a_trailing_comma_and_blanks() -> None:
    options, _, _ = read("-b", "*", "-d", "6000, 7000,", "-x", "1.1.0.0/16,2001:db8::/32,")
    assert options.inbound_ports_exclude == (6000, 7000)
    assert [str(cidr) for cidr in options.outbound_cidrs_exclude] == ["1.1.0.0/16", "2001:db8::/32"]


def test_resolvers_are_read_only_if_they_are_not_given() -> None:
    found = around(v4=("10.0.0.1",), v6=("fd00::1",))
    assert read("--redirect-dns", surroundings=found)[0].dns_servers_v6 == ("fd00::1",)
    options, _, _ = read("--redirect-dns", "--dns-servers-v6=::127.0.0.53", surroundings=found)
    assert (options.dns_servers_v4, options.dns_servers_v6) == ((), ("::127.0.0.53",))
    options, _, warnings = read("--redirect-dns", "--dns-servers-v4=", surroundings=found)
    assert not options.dns
    assert "DNS is not captured" in warnings[0]


def test_ipv6_follows_the_pod_unless_told() -> None:
    assert read(surroundings=around(ipv6=True))[0].ipv6
    assert not read("--ipv6=off", surroundings=around(ipv6=True))[0].ipv6
    assert read("--ipv6=on")[0].ipv6
    assert not read(surroundings=around(dual=True))[0].ipv6
    assert read("--dual-stack", surroundings=around(dual=True))[0].ipv6


REFUSED = [
    (("-p", "0"), "--envoy-port", "not a port"),
    (("-z", "65536"), "--inbound-capture-port", "not a port"),
    (("-b", "80,x"), "--istio-inbound-ports", "'x' is not a port"),
    (("-b", "80,*"), "--istio-inbound-ports", "'*' already means every port"),
    (("-b", "80-90"), "--istio-inbound-ports", "'80-90' is not a port"),
    (("-d", "*"), "--istio-local-exclude-ports", "'*' can't stand here"),
    (("-q", "*"), "--istio-outbound-ports", "'*' can't stand here"),
    (("-o", "٣"), "--istio-local-outbound-ports-exclude", "not a port"),
    (("-x", "*"), "--istio-service-exclude-cidr", "'*' can't stand here"),
    (("-i", "10.0.0.0/8,*"), "--istio-service-cidr", "'*' already means every address"),
    (("-i", "10.0.0.0"), "--istio-service-cidr", "no prefix length"),
    (("-i", "10.0.0.0/33"), "--istio-service-cidr", "bad prefix length"),
    (("-i", "10.0.0/8"), "--istio-service-cidr", "not a network"),
    (("-x", "fe80::1%eth0/64"), "--istio-service-exclude-cidr", "zone"),
    (("-u", "*"), "--proxy-uid", "'*' can't stand here"),
    (("-u", "4294967295"), "--proxy-uid", "beyond the largest id"),
    (("-g", "a b"), "--proxy-gid", "neither a numeric id nor a name"),
    (("-c", "an-interface-too-long"), "--istio-exclude-interfaces", "not the name of an interface"),
    (("-k", "a;b"), "--kube-virt-interfaces", "not the name of an interface"),
    (("-m", "tproxy"), "--istio-inbound-interception-mode", "neither REDIRECT nor TPROXY"),
    (("-t", "0"), "--istio-inbound-tproxy-mark", "not a number"),
    (("-r", "x"), "--istio-inbound-tproxy-route-table", "not a number"),
    (("--ipv6", "yes"), "--ipv6", "none of auto, on, off"),
    (("--format", "json"), "--format", "none of"),
    (("--force-iptables-binary", "ebpf"), "--force-iptables-binary", "neither legacy nor nft"),
    (("--probe-timeout", "5"), "--probe-timeout", "not a duration"),
    (("--probe-timeout", "0s"), "--probe-timeout", "more than nothing"),
    (("--redirect-dns", "--dns-servers-v4", "fd00::1"), "--dns-servers-v4", "not an IPv4 address"),
    (("--redirect-dns", "--dns-servers-v6", "10.0.0.1"), "--dns-servers-v6", "not an IPv6 address"),
    (("--native-nftables", "--force-iptables-binary=nft"), "--force-iptables-binary", "contradicts --native-nftables"),
    (("--cleanup-only", "--run-validation"), "--run-validation", "contradicts --cleanup-only"),
    (("--cleanup-only", "--force-apply"), "--force-apply", "contradicts --cleanup-only"),
    (("--skip-rule-apply", "--force-apply"), "--force-apply", "contradicts --skip-rule-apply"),
    (("--capture-all-dns",), "--capture-all-dns", "contradicts --redirect-dns"),
    (("-q", "80", "-o", "80"), "--istio-local-outbound-ports-exclude", "port 80 stands in both"),
    (("-b", "80", "-d", "80"), "--istio-local-exclude-ports", "port 80 stands in both"),
    (("-c", "eth1", "-k", "eth1"), "--istio-exclude-interfaces", "interface eth1 stands in both"),
    (("-p", "15006"), "--inbound-capture-port", "must differ"),
    (("--dual-stack", "--ipv6=off"), "--ipv6", "contradicts --dual-stack"),
]


@pytest.mark.parametrize(("argv", "name", "why"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_refused_with_the_flag_named(argv: tuple[str, ...], name: str, why: str) -> None:
    message = refused(*argv)
    assert message.startswith(f"{name}: ")
    assert why in message


def test_refused_with_the_variable_named() -> None:
    assert refused(ISTIO_SERVICE_CIDR="x/8").startswith("ISTIO_SERVICE_CIDR: ")
    assert refused(DROP_INVALID="maybe").startswith("DROP_INVALID: ")
    assert refused(ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR="10.0.0.0/8").startswith("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR: ")
    assert refused(ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR="127.0.0.0/7").endswith("prefix of 8 to 32")
    many = ",".join(str(number) for number in range(65))
    assert "at most 64" in refused(ISTIO_OUTBOUND_OWNER_GROUPS=many)
    assert "at most 64" in refused(ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE=many)
    assert "capture nobody" in refused(ISTIO_OUTBOUND_OWNER_GROUPS=",")
    assert "contradicts" in refused(ISTIO_OUTBOUND_OWNER_GROUPS="a", ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE="b")


def test_lists_of_ids_are_warned_about() -> None:
    _, _, warnings = read("-u", "3,4", "-g", "1,2")
    assert len(warnings) == 2
    assert all("hairpin" in warning for warning in warnings)
    assert "only 3 gets the hairpin" in warnings[0]


def test_settings_without_effect_are_warned_about() -> None:
    assert "no effect" in read("-b", "80", "-d", "90")[2][0]
    assert "IPv6 is off" in read("-i", "fd00::/8")[2][0]
    assert "also excludes 10.0.0.0/8" in read("-i", "10.0.0.0/8", "-x", "10.0.0.0/8")[2][0]
    assert "not captured: IPv6 is off" in read("--redirect-dns", "--dns-servers-v6=fd00::1")[2][0]


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5.0), ("1m30s", 90.0), ("500ms", 0.5), ("1.5h", 5400.0), ("2us", 2e-6)]
)
def test_durations(text: str, seconds: float) -> None:
    assert settings.parse_duration(text, "x") == pytest.approx(seconds)


def test_unknown_flags_and_abbreviations_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--no-such-flag"], ["--drop"], ["install"]):
        with pytest.raises(SystemExit) as caught:
            flags.parse(argv, {})
        assert caught.value.code == 2
    assert "--no-such-flag" in capsys.readouterr().err


def test_help_explains_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        flags.parse(["--help"], {})
    assert caught.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for flag in flags.CAPTURE + flags.RUN:
        assert f"--{flag.name}" in text
        assert re.sub(r"\s+", " ", flag.help) in text
    for flag in flags.ENVIRONMENT_ONLY:
        assert flag.env[0] in text
