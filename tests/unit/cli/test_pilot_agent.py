"""What Istio's injector writes into a pod, word for word, given to the image's entry point."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from meshproxy.cli.agent import own_level

INIT = [
    *("istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*"),
    *("-d", "15090,15021,15020", "--log_output_level=default:info"),
]
SIDECAR = [
    *("proxy", "sidecar", "--domain", "shop.svc.cluster.local", "--proxyLogLevel=warning"),
    *("--proxyComponentLogLevel=misc:error", "--log_output_level=default:info", "--stsPort=15463"),
]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meshproxy.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **variables})


@pytest.mark.parametrize("arguments", [INIT, ["istio-clean-iptables"]], ids=["install", "clean"])
def test_the_init_container(arguments: list[str]) -> None:
    done = run(*arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001" in done.stdout


def test_the_init_containers_mistakes_are_its_own() -> None:
    assert run("istio-iptables", "--dry-run", "-p", "http").returncode == 2


def test_the_sidecar_container() -> None:
    done = run(*SIDECAR, PROXY_CONFIG="{", MINIMUM_DRAIN_DURATION="soon")
    assert done.returncode == 1
    assert "PROXY_CONFIG" in done.stderr
    assert "MINIMUM_DRAIN_DURATION" in done.stderr


@pytest.mark.parametrize(
    ("levels", "level"),
    [("", "info"), ("default:debug", "debug"), ("warn", "warning"), ("xdsproxy:debug", "info"), ("all:none", "off")],
)
def test_the_agents_own_level(levels: str, level: str) -> None:
    assert own_level(levels) == level


def test_a_level_that_is_none() -> None:
    done = run("proxy", "sidecar", "--log_output_level=default:loud")
    assert (done.returncode, "default:loud" in done.stderr) == (2, True)


def test_the_version() -> None:
    assert run("version", "--short").stdout.count(".") == 2


def test_other_words_are_no_command() -> None:
    assert run("proxies").returncode == 2
