"""The commands that Istio's injector writes into a pod: those of its own image's entry point, `pilot-agent`.

    proxy sidecar ...        the sidecar container: `meshproxy agent proxy sidecar ...`
    istio-iptables ...       the init container: `meshproxy-iptables ...`
    istio-clean-iptables     `meshproxy-iptables --cleanup-only`
    version

With them a pod works whose image alone has been exchanged. `wait` and `request` have these names anyway. The init
container's program is another one, which this one becomes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence


def _run_proxy(arguments: Sequence[str]) -> int:
    from meshproxy.cli.agent import run_agent_command

    return run_agent_command(["proxy", *arguments])


def _run_iptables(arguments: Sequence[str]) -> int:
    os.execv(sys.executable, [sys.executable, "-m", "meshproxy_iptables", *arguments])


def _run_clean_iptables(arguments: Sequence[str]) -> int:
    return _run_iptables(["--cleanup-only", *arguments])


def _run_version(arguments: Sequence[str]) -> int:
    from meshproxy.runtime.version import version

    sys.stdout.write(f"{version()}\n")
    return 0


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "proxy": _run_proxy,
    "istio-iptables": _run_iptables,
    "istio-clean-iptables": _run_clean_iptables,
    "version": _run_version,
}
