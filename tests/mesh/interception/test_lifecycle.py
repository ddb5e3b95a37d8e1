"""Installing, installing again, drift, concurrency and cleanup, on every backend."""

from __future__ import annotations

import fcntl
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .pods import PEER4, PEER6, Namespace, Pods

LEGACY, NFT, NATIVE = "--force-iptables-binary=legacy", "--force-iptables-binary=nft", "--native-nftables"
BACKENDS = [LEGACY, NFT, NATIVE]
TYPICAL = ("-u=1337", "-g=1337", "-b=*", "-d=15090,15021,15020", "-i=*")
EVERYTHING = (
    *TYPICAL, "-m=TPROXY", "--ipv6=on", "-c=eth1", "-o=7777", "-x=10.9.0.0/16,fd99::/64", "-q=99", "--redirect-dns",
    f"--dns-servers-v4={PEER4}", f"--dns-servers-v6={PEER6}", "--drop-invalid",
)  # fmt: skip
VIRTUAL = ("-k=vnet0", "-i=10.9.0.0/16", "--ipv6=on", "--redirect-dns", "--capture-all-dns")


def state(pod: Namespace) -> dict[str, str]:
    """Everything that the rules, the routing and the addresses of a pod consist of, without counters.

    Empty tables of iptables-legacy do not count, they can't be unmade. Nor do empty built-in chains of iptables-nft:
    in a table of somebody else's, they stay once they were used.
    """
    commands = {
        "nft": ["nft", "list", "ruleset"],
        "v4": ["iptables-legacy-save"],
        "v6": ["ip6tables-legacy-save"],
        "rules4": ["ip", "rule"],
        "rules6": ["ip", "-6", "rule"],
        "routes4": ["ip", "route", "show", "table", "all"],
        "routes6": ["ip", "-6", "route", "show", "table", "all"],
        "addresses": ["ip", "-brief", "address"],
    }
    found = {name: pod.output(*argv) for name, argv in commands.items()}
    for family in ("v4", "v6"):
        found[family] = "\n".join(line for line in found[family].splitlines() if line.startswith("-A"))
    found["nft"] = re.sub(r"\tchain [A-Z]+ \{\n\t\ttype .*\n\t\}\n\n?", "", found["nft"]).replace("\n\n}", "\n}")
    return {name: re.sub(r"packets \d+ bytes \d+|\[\d+:\d+\]", "", text) for name, text in found.items()}


def foreign(pod: Namespace, backend: str) -> None:
    """Rules of somebody else, of the kinds that are most easily taken for ours."""
    if backend == NATIVE:
        script = (
            "add table inet other\nadd chain inet other c { type nat hook output priority -90; }\n"
            "add rule inet other c tcp dport 9 counter redirect to :10\n"
        )
        pod.output("nft", "-f", "-", text=script)
    kind = "legacy" if backend == LEGACY else "nft"
    text = (
        "*nat\n:OTHER - [0:0]\n-A PREROUTING -i eth1 -j RETURN\n-A OUTPUT -p tcp --dport 9 -j OTHER\n"
        "-A OTHER -p tcp -j REDIRECT --to-ports 10\nCOMMIT\n*mangle\n-A OUTPUT -j MARK --set-mark 7\nCOMMIT\n"
    )
    for tool in ("iptables", "ip6tables"):
        pod.output(f"{tool}-{kind}-restore", "--noflush", text=text)


def installed(pod: Namespace, *flags: str, **environ: str) -> str:
    done = pod.intercept(*flags, uid=0, bounding="", **environ)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("flags", [TYPICAL, EVERYTHING, VIRTUAL], ids=["typical", "everything", "virtual"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_10_twice_is_once_and_cleanup_restores(pods: Pods, backend: str, flags: tuple[str, ...]) -> None:
    foreign(pods.a, backend)
    before = state(pods.a)
    installed(pods.a, backend, *flags)
    once = state(pods.a)
    assert once != before
    assert "nothing to do" in installed(pods.a, backend, *flags)
    assert state(pods.a) == once
    installed(pods.a, backend, *flags, "--force-apply")
    assert state(pods.a) == once
    installed(pods.a, "--cleanup-only")
    assert state(pods.a) == before
    installed(pods.a, "--cleanup-only")
    assert state(pods.a) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_10_nothing_stays_where_nothing_was(pods: Pods, backend: str) -> None:
    before = state(pods.a)
    installed(pods.a, backend, *EVERYTHING)
    installed(pods.a, "--cleanup-only")
    assert state(pods.a) == before


def test_10_what_was_there_before_stays(pods: Pods) -> None:
    pods.a.output("ip", "address", "add", "::6/128", "dev", "lo")
    pods.a.output("ip", "rule", "add", "fwmark", "1337", "lookup", "133")
    pods.a.output("ip", "route", "add", "local", "default", "dev", "lo", "table", "133")
    before = state(pods.a)
    installed(pods.a, *EVERYTHING)
    assert state(pods.a)["rules4"].count("0x539") == 1
    installed(pods.a, "--cleanup-only")
    assert state(pods.a) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_10_other_options_replace_the_earlier_ones(pods: Pods, backend: str) -> None:
    installed(pods.a, backend, *TYPICAL)
    typical = state(pods.a)
    installed(pods.a, backend, *EVERYTHING)
    installed(pods.a, backend, *TYPICAL)
    after = state(pods.a)
    assert after == typical
    assert pods.a.intercept("check", backend, *TYPICAL).returncode == 0


def test_10_another_backend_takes_over(pods: Pods) -> None:
    for backend in (LEGACY, NATIVE, NFT, LEGACY):
        installed(pods.a, backend, *TYPICAL)
        seen = [
            "ISTIO_" in pods.a.output("iptables-legacy-save"),
            "ISTIO_" in pods.a.output("iptables-nft-save"),
            "istio-proxy" in pods.a.output("nft", "list", "tables"),
        ]
        assert seen == [backend == LEGACY, backend == NFT, backend == NATIVE]


def _tamper(pod: Namespace, backend: str, how: str) -> None:
    if backend == NATIVE:
        table = "inet istio-proxy-nat"
        listing = pod.output("nft", "-a", "list", "table", "inet", "istio-proxy-nat")
        handles = dict(re.findall(r"(jump istio-output|skuid != 1337 counter.*return) # handle (\d+)", listing))
        jump = next(handle for text, handle in handles.items() if text.startswith("jump"))
        own = next(handle for text, handle in handles.items() if text.startswith("skuid"))
        script = {
            "extra": f"insert rule {table} istio-inbound tcp dport 80 return",
            "jump": f"delete rule {table} output handle {jump}",
            "order": f"delete rule {table} istio-output handle {own}\n"
            f"add rule {table} istio-output oifname lo skuid != 1337 counter return",
        }[how]
        pod.output("nft", "-f", "-", text=script + "\n")
        return
    tool = "iptables-legacy" if backend == LEGACY else "iptables-nft"
    own_rule = ["-o", "lo", "-m", "owner", "!", "--uid-owner", "1337", "-j", "RETURN"]
    if how == "extra":
        pod.output(tool, "-t", "nat", "-I", "ISTIO_INBOUND", "1", "-p", "tcp", "--dport", "80", "-j", "RETURN")
    elif how == "jump":
        pod.output(
            tool, "-t", "nat", "-D", "OUTPUT", "-m", "comment", "--comment", _comment(pod, tool), "-j", "ISTIO_OUTPUT"
        )
    else:
        pod.output(tool, "-t", "nat", "-D", "ISTIO_OUTPUT", *own_rule)
        pod.output(tool, "-t", "nat", "-A", "ISTIO_OUTPUT", *own_rule)


def _comment(pod: Namespace, tool: str) -> str:
    found = re.search(r"--comment (\S+) -j ISTIO_OUTPUT\b", pod.output(f"{tool}-save", "-t", "nat"))
    assert found
    return found[1]


@pytest.mark.parametrize("reconcile", [(), ("--reconcile",)], ids=["", "guarded"])
@pytest.mark.parametrize("how", ["extra", "jump", "order"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_11_drift_is_seen_and_repaired(pods: Pods, backend: str, how: str, reconcile: tuple[str, ...]) -> None:
    installed(pods.a, backend, *TYPICAL)
    right = state(pods.a)
    _tamper(pods.a, backend, how)
    assert state(pods.a) != right
    report = pods.a.intercept("check", backend, *TYPICAL)
    assert report.returncode == 1
    assert {"extra": "extra:", "jump": "missing:", "order": "order"}[how] in report.stdout
    assert "repairing:" in installed(pods.a, backend, *TYPICAL, *reconcile)
    after = state(pods.a)
    assert after == right
    assert pods.a.intercept("check", backend, *TYPICAL).returncode == 0


def test_11_rules_of_istio_iptables_are_taken_over(pods: Pods) -> None:
    text = pods.a.intercept("--dry-run", "--format=iptables-restore", *EVERYTHING).stdout
    before = state(pods.a)
    family = text.index("* mangle", 1)
    pods.a.output("iptables-nft-restore", "--noflush", text=text[:family])
    pods.a.output("ip6tables-nft-restore", "--noflush", text=text[family:])
    assert "nothing to do" in installed(pods.a, NFT, *EVERYTHING)
    installed(pods.a, NFT, *EVERYTHING, "--force-apply")
    installed(pods.a, "--cleanup-only")
    assert "ISTIO" not in state(pods.a)["nft"]
    assert "1337" not in state(pods.a)["nft"]
    assert state(pods.a)["rules4"] == before["rules4"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_odd_names_are_understood(pods: Pods, backend: str) -> None:
    flags = (*TYPICAL, "-c=eth0.100,4g,ip,veth+,mark,a-b_c")
    installed(pods.a, backend, *flags, ISTIO_OUTBOUND_OWNER_GROUPS="root,777")
    done = pods.a.intercept("check", backend, *flags, ISTIO_OUTBOUND_OWNER_GROUPS="root,777")
    assert done.returncode == 0, done.stdout


def test_sixty_times(pods: Pods) -> None:
    """In one process, as so many starts of Python would take long without telling more."""
    before = state(pods.a)
    program = (
        "import sys\nfrom meshproxy_iptables.cli import main\n"
        f"flags = {list(EVERYTHING)!r}\nbackends = {BACKENDS!r}\n"
        "for turn in range(60):\n"
        "    if main([backends[turn % 3], *flags], {}) or main(['--cleanup-only'], {}):\n"
        "        sys.exit(f'failed in turn {turn}')\n"
    )
    path = Path(__file__).parents[3] / "iptables"
    done = pods.a.run("/usr/bin/python3", "-c", f"import sys; sys.path.insert(0, {str(path)!r})\n{program}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert state(pods.a) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_at_once_end_in_one_state(pods: Pods, backend: str) -> None:
    other = ("-u=1338", "-g=1338", "-b=80", "-i=10.0.0.0/8", "--ipv6=on")
    results: list[int] = []

    def go(flags: tuple[str, ...]) -> None:
        for _ in range(3):
            results.append(pods.a.intercept(backend, *flags).returncode)

    threads = [threading.Thread(target=go, args=(flags,)) for flags in (TYPICAL, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 6
    checks = [pods.a.intercept("check", backend, *flags).returncode for flags in (TYPICAL, other)]
    assert sorted(checks) == [0, 1], "exactly one of the two is in place, whole"


def test_the_lock_of_legacy_is_waited_for(pods: Pods, tmp_path: Path) -> None:
    lock = tmp_path / "xtables.lock"
    with lock.open("w") as held, ThreadPoolExecutor(1) as thread:
        fcntl.flock(held, fcntl.LOCK_EX)
        tool = thread.submit(pods.a.intercept, LEGACY, *TYPICAL, XTABLES_LOCKFILE=str(lock))
        waiting = re.compile(rf"-> FLOCK .*:{lock.stat().st_ino} ")
        while not tool.done() and not waiting.search(Path("/proc/locks").read_text()):
            time.sleep(0.02)
        fcntl.flock(held, fcntl.LOCK_UN)
        done = tool.result()
    assert done.returncode == 0, done.stderr
    assert f"waiting up to 30 s for the xtables lock {lock}" in done.stderr


def test_the_default_is_native_and_says_why(pods: Pods) -> None:
    assert "backend: native nftables (the default" in installed(pods.a, *TYPICAL)


def test_legacy_in_use_stays_legacy(pods: Pods) -> None:
    foreign(pods.a, LEGACY)
    assert "backend: iptables-legacy (rules of iptables-legacy are in use here" in installed(pods.a, *TYPICAL)


def test_without_nft_iptables_is_next(pods: Pods, tmp_path: Path) -> None:
    for name in ("iptables-nft-save", "iptables-nft-restore", "ip6tables-nft-save", "ip6tables-nft-restore"):
        (tmp_path / name).symlink_to(f"/usr/sbin/{name}")
    done = pods.a.intercept(*TYPICAL, PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "backend: iptables-nft (the next choice" in done.stderr


def test_binaries_without_a_suffix_are_the_last_choice(pods: Pods, tmp_path: Path) -> None:
    for name in ("iptables", "ip6tables"):
        for tool in ("", "-save", "-restore"):
            (tmp_path / f"{name}{tool}").symlink_to("/usr/sbin/xtables-nft-multi")
    done = pods.a.intercept(*TYPICAL, PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "backend: iptables (the last choice" in done.stderr
    assert "nothing to do" in installed(pods.a, *TYPICAL, PATH=str(tmp_path))
    assert "ISTIO_OUTPUT" in pods.a.output("iptables-nft-save")
    installed(pods.a, "--cleanup-only")
    assert pods.a.output("nft", "list", "ruleset") == ""


def test_a_broken_backend_is_passed_over(pods: Pods, tmp_path: Path) -> None:
    broken = tmp_path / "nft"
    broken.write_text("#!/bin/sh\necho 'no such protocol' >&2\nexit 1\n")
    broken.chmod(0o755)
    done = pods.a.intercept(*TYPICAL, PATH=f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    assert done.returncode == 0, done.stderr
    assert "native nftables does not work here" in done.stderr
    assert "no such protocol" in done.stderr
    assert "backend: iptables-nft" in done.stderr


def test_from_outside_by_the_path_of_the_namespace(pods: Pods) -> None:
    path = f"/run/netns/{pods.a.name}"
    for backend in BACKENDS:
        done = pods.b.intercept(backend, *TYPICAL, f"--network-namespace={path}", "--cni-mode")
        assert done.returncode == 0, done.stderr
        assert pods.a.intercept("check", backend, *TYPICAL).returncode == 0
    assert pods.b.output("nft", "list", "ruleset") == ""


@pytest.mark.parametrize(
    ("backend", "capabilities"),
    [(NATIVE, "+net_admin"), (NFT, "+net_admin"), (LEGACY, "+net_admin,+net_raw")],
)
def test_with_no_more_privilege_than_the_manifests_give(pods: Pods, backend: str, capabilities: str) -> None:
    done = pods.a.intercept(backend, *EVERYTHING, bounding=f"-all,{capabilities}")
    assert done.returncode == 0, done.stderr
    assert pods.a.intercept("check", backend, *EVERYTHING).returncode == 0


def test_validation_with_the_privilege_of_the_manifest(pods: Pods) -> None:
    done = pods.a.intercept(*TYPICAL, "--run-validation", bounding="-all,+net_admin,+setuid,+setgid")
    assert done.returncode == 0, done.stderr
    assert "outbound IPv4: uid 65534 to 192.0.2.1:15002 arrives" in done.stderr
    lacking = pods.a.intercept(*TYPICAL, "--run-validation", "--skip-rule-apply", bounding="-all,+net_admin")
    assert lacking.returncode == 126
    assert "CAP_SETUID" in lacking.stderr


def test_without_privilege_nothing_happens_and_it_is_said(pods: Pods) -> None:
    before = state(pods.a)
    done = pods.a.intercept(*EVERYTHING, bounding="-all")
    assert done.returncode == 1
    assert "CAP_NET_ADMIN" in done.stderr
    done = pods.a.intercept(*TYPICAL, bounding="-all")
    assert done.returncode == 1
    assert "no backend could install the rules" in done.stderr
    assert state(pods.a) == before
    installed(pods.a, *TYPICAL)
    done = pods.a.intercept("--cleanup-only", bounding="-all")
    assert done.returncode == 1
    assert "cleanup failed" in done.stderr


@pytest.mark.parametrize(
    "keeps", [("-A", "OUTPUT", "-p", "tcp", "-j", "ACCEPT"), ("-N", "THEIRS")], ids=["rule", "chain"]
)
def test_a_table_that_others_have_come_to_use_stays(pods: Pods, keeps: tuple[str, ...]) -> None:
    installed(pods.a, NFT, *TYPICAL)
    pods.a.output("iptables-nft", "-t", "nat", *keeps)
    installed(pods.a, "--cleanup-only")
    saved = pods.a.output("iptables-nft-save", "-t", "nat")
    assert ("THEIRS" if "-N" in keeps else "-A OUTPUT -p tcp -j ACCEPT") in saved
    assert "ISTIO" not in saved
