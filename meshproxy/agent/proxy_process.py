"""The proxy as a child process: how it is started, and what its end means.

The child dies with the agent (PR_SET_PDEATHSIG): a proxy without one would go on for ever, unseen. Its exit code
becomes the agent's; a signal becomes 128 and its number, as in a shell.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meshproxy.agent.settings import AgentSettings

_PR_SET_PDEATHSIG = 1


def proxy_arguments(settings: AgentSettings, bootstrap: Path, extra: Sequence[str] = ()) -> list[str]:
    """The command line of the proxy. bootstrap: what the agent wrote. extra: further flags of its own."""
    sources = ["-c", str(bootstrap)]
    if settings.custom_config_file:
        sources = ["-c", settings.custom_config_file, "--config-yaml", bootstrap.read_text()]
    elif settings.bootstrap_override:
        sources += ["--config-yaml", settings.bootstrap_override]
    arguments = [
        *sources,
        "--drain-time-s", str(int(settings.drain.duration)),
        "--drain-strategy", "immediate",
        "--local-address-ip-version", "v6" if ":" in settings.ip else "v4",
        "--file-flush-interval-msec", str(round(settings.log_flush_interval * 1000)),
        "--disable-hot-restart",
    ]  # fmt: skip
    if settings.log_flush_kb is not None:
        arguments += ["--file-flush-min-size-kb", str(settings.log_flush_kb)]
    if settings.concurrency is not None:
        arguments += ["--concurrency", str(settings.concurrency)]
    return [*arguments, *extra]


async def start_proxy(arguments: Sequence[str], variables: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    """Start `meshproxy` with these arguments, in the same Python. Raises OSError."""
    libc: Any = ctypes.CDLL(None)
    agent = os.getpid()

    def die_with_agent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != agent:
            os._exit(1)  # the agent was gone before it could be asked for

    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "meshproxy.cli", *arguments,
        stdin=asyncio.subprocess.DEVNULL, preexec_fn=die_with_agent, env=variables,
    )  # fmt: skip


def exit_code(returncode: int) -> int:
    """The agent's exit code for how its child ended."""
    return returncode if returncode >= 0 else 128 - returncode


def reap_orphans(own: int) -> None:
    """As process 1 of a container: take leave of children that were handed down to us, but not of process `own`."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == own:
            return
        os.waitpid(found.si_pid, 0)
