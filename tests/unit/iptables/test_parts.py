"""The smaller pure parts: probes, surroundings, collisions, explanations, the transaction's insertions."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshproxy_iptables import check, cli, explain, nft_text, surroundings
from meshproxy_iptables.netlink import InterfaceAddress
from meshproxy_iptables.options import Cidr, Options
from meshproxy_iptables.plan import build
from meshproxy_iptables.probes import Probe, probes
from meshproxy_iptables.rules import final_order


def options(**changes: Any) -> Options:
    return dataclasses.replace(Options(), **changes)


def as_is(_: str, name: str) -> str:
    return name


def net(text: str) -> Cidr:
    address, prefix = text.split("/")
    return Cidr(ipaddress.ip_address(address), int(prefix))


def probed(**changes: Any) -> tuple[list[Probe], list[str]]:
    return probes(options(**changes), 15002, {4: "10.0.0.2"}, as_is)


def test_probes_of_both_directions_and_families() -> None:
    found, notes = probed(outbound_all=True, ipv6=True)
    assert [(p.direction, p.address, p.source, p.expected, p.uid) for p in found] == [
        ("inbound", "127.0.0.6", "127.0.0.1", 15006, 1337),
        ("outbound", "192.0.2.1", "", 15001, 65534),
        ("inbound", "::6", "::1", 15006, 1337),
        ("outbound", "2001:db8::1", "", 15001, 65534),
    ]
    assert notes == []


def test_probes_go_where_the_rules_capture() -> None:
    (_, out), _ = probed(outbound_cidrs=(net("10.1.0.0/16"),))
    assert out.address == "10.1.0.1"
    (_, out), _ = probed(outbound_all=True, outbound_cidrs_exclude=(net("192.0.2.0/24"),))
    assert out.address == "198.51.100.1"
    (_, out), _ = probed(outbound_ports=(99,))
    assert (out.address, out.port) == ("192.0.2.1", 99)
    (_, out), _ = probed(outbound_all=True, outbound_ports_exclude=(15002,))
    assert out.port == 15003
    (_, out), _ = probed(outbound_all=True, owner_groups=("1337", "777"))
    assert out.gid == 777
    (_, out), _ = probed(outbound_all=True, owner_groups_exclude=("65534",), proxy_uids=("65534",))
    assert (out.uid, out.gid) == (65533, 65533)


def test_what_can_not_be_probed_is_said() -> None:
    _, notes = probed()
    assert notes == ["outbound IPv4 can't be probed: no destination is captured"]
    _, notes = probed(outbound_all=True, owner_groups=("nobody-knows",))
    assert "no group" in notes[0]
    _, notes = probed(outbound_all=True, proxy_uids=("envoy",))
    assert "nobody here knows the proxy's user envoy" in notes[0]
    (inbound, _), _ = probes(options(outbound_all=True, proxy_uids=("envoy",)), 1, {}, lambda kind, name: "77")
    assert inbound.uid == 77


def test_with_all_of_loopback_exempt_the_pod_address_is_probed() -> None:
    (inbound, *_), _ = probed(outbound_all=True, loopback_cidr="127.0.0.1/8")
    assert (inbound.address, inbound.source) == ("10.0.0.2", "")
    _, notes = probes(options(loopback_cidr="127.0.0.1/8"), 1, {}, as_is)
    assert "no pod address" in notes[0]


def address(version: int, text: str) -> InterfaceAddress:
    return InterfaceAddress(version, 2, text, 24, 0, 0)


def test_ipv6_is_on_if_the_first_real_address_is_ipv6() -> None:
    lo, v4, v6 = address(4, "127.0.0.1"), address(4, "10.0.0.2"), address(6, "fd00::2")
    local, magic = address(6, "fe80::1"), address(6, "::6")
    assert not surroundings.speaks_ipv6([lo, v4, v6], dual_stack=False)
    assert surroundings.speaks_ipv6([lo, v4, v6], dual_stack=True)
    assert surroundings.speaks_ipv6([lo, local, v6], dual_stack=False)
    assert not surroundings.speaks_ipv6([lo, local, magic], dual_stack=True), "::6 is ours from an earlier run"
    assert not surroundings.speaks_ipv6([], dual_stack=True)
    assert surroundings.pod_addresses([lo, local, magic, v4, v6]) == {4: "10.0.0.2", 6: "fd00::2"}


def test_resolvers_of_resolv_conf() -> None:
    text = "search a\n# nameserver 1.1.1.1\nnameserver 10.0.0.1\nnameserver\tfe80::1%eth0 \nnameserver x\noptions y\n"
    assert surroundings.resolvers(text) == (("10.0.0.1",), ("fe80::1",))


def test_a_program_under_the_proxys_uid_is_a_collision() -> None:
    def line(port: int, state: str, uid: int) -> str:
        return f"0: 00000000:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid} 0 1"

    sockets = [line(15001, "0A", 1337), line(8080, "0A", 1337), line(8081, "0A", 1000), line(8082, "01", 1337), "bad"]
    assert [text.split(":")[0] for text in check.collisions(options(), {"1337"}, sockets)] == [
        "port 8080 is served by uid 1337, the proxy's"
    ]


def test_every_rule_is_explained_in_both_words() -> None:
    plan = build(options(inbound_all=True, outbound_all=True, tproxy=True, ipv6=True, dns=True, dns_all=True))
    for native in (False, True):
        text = explain.render(plan, native)
        assert len(re.findall(r"\(IPv[46][^)]*\)", text)) == len(plan.rules)
        for rule in plan.rules:
            assert rule.why in text
    assert "jump istio-output" in explain.render(plan, True)
    assert "must not reach the application" in explain.render(plan, True)
    assert "-j ISTIO_OUTPUT" in explain.render(plan, False)


def test_an_insertion_into_an_empty_chain_is_an_addition() -> None:
    """The kernel refuses an index beyond the rules there are."""
    text = nft_text.render(build(options(tproxy=True, ipv6=True)))
    mangle = [line.partition("istio-inbound ")[2] for line in text.splitlines() if "mangle istio-inbound " in line]
    assert [line.startswith("index") for line in mangle] == [False, False, True, True]
    assert "index 1 iifname lo meta l4proto tcp ip6 saddr" in mangle[2]
    order = final_order(build(options(tproxy=True)).of(4))["mangle", "ISTIO_INBOUND"]
    assert len(order) == 3


@pytest.mark.parametrize(
    ("name", "text"), [("eth0.100", "eth0.100"), ("vnet+", "vnet*"), ("4g", '"4g"'), ("ip", '"ip"'), ("a:1", '"a:1"')]
)
def test_names_that_nft_would_misread_are_quoted(name: str, text: str) -> None:
    assert f"oifname {text} counter return" in nft_text.render(build(options(exclude_interfaces=(name,))))


def test_native_tproxy_drops_where_no_proxy_listens() -> None:
    plan = build(options(tproxy=True, inbound_all=True))
    added = nft_text.render_installed(plan).removeprefix(nft_text.render(plan))
    assert added == (
        "add rule inet istio-proxy-mangle istio-tproxy meta l4proto tcp ip daddr != 127.0.0.1/32 counter drop\n"
    )
    redirect = build(options(inbound_all=True))
    assert nft_text.render_installed(redirect) == nft_text.render(redirect)


@pytest.mark.parametrize(
    ("argv", "first"),
    [
        (["--dry-run"], "* nat"),
        (["-n", "--format=iptables-restore"], "* nat"),
        (["-n", "--native-nftables"], "add table inet istio-proxy-nat"),
        (["-n", "--format=nft"], "add table inet istio-proxy-nat"),
        (["-n", "--format=explain"], "Redirection (table nat)"),
    ],
)
def test_dry_run_prints_the_text_and_nothing_else(
    argv: list[str], first: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "rules"
    assert cli.main([*argv, "--ipv6=off"], {"DRY_RUN_FILE_PATH": str(path)}) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == first
    assert path.read_text() == out


def test_errors_go_to_standard_error_with_their_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-i", "nonsense", "--dry-run"], {}) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: --istio-service-cidr: 'nonsense'" in captured.err


def test_messages_can_be_fewer_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    warned = ["--dry-run", "--ipv6=off", "-u", "1,2"]
    assert cli.main([*warned, "--log_output_level=default:error,other:debug"], {}) == 0
    assert capsys.readouterr().err == ""
    assert cli.main([*warned, "--log_output_level=warn", "--log_as_json"], {}) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in lines] == ["warn", "warn"]
    assert "hairpin" in lines[0]["msg"]
    assert cli.main(["--log_output_level=loud"], {}) == 2
    assert "--log_output_level: 'loud'" in capsys.readouterr().err


def test_it_runs_as_one_file(tmp_path: Path) -> None:
    package = Path(cli.__file__).parent
    archive = tmp_path / "meshproxy-iptables.pyz"
    staged = tmp_path / "staged"
    (staged / "meshproxy_iptables").mkdir(parents=True)
    for source in package.glob("*.py"):
        (staged / "meshproxy_iptables" / source.name).write_bytes(source.read_bytes())
    make = [sys.executable, "-m", "zipapp", str(staged), "-o", str(archive), "-m", "meshproxy_iptables.cli:command"]
    subprocess.run(make, check=True)
    isolated = [sys.executable, "-I", "-S", str(archive), "--dry-run", "--ipv6=off"]
    done = subprocess.run(isolated, capture_output=True, text=True, env={}, check=True)
    assert done.stdout.startswith("* nat\n")
    failed = subprocess.run([*isolated, "-p", "0"], capture_output=True, text=True, env={}, check=False)
    assert failed.returncode == 2
