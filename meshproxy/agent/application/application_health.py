"""How the application is, for the control plane: the `readinessProbe` of `ProxyConfig`, as workloads outside of
Kubernetes have it, where no kubelet asks.

The probe is made for as long as the agent runs. What is told is a change: well after `successThreshold` probes in a row
that succeeded, unwell after `failureThreshold` that failed. As long as the proxy isn't ready the application isn't
either, whatever it answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from meshproxy.agent.application.probes import Prober, probe, read_prober
from meshproxy.agent.http import Request
from meshproxy.records import dataclass

HEALTH_TYPE = "type.googleapis.com/istio.v1.HealthInformation"

Check = Callable[[], Awaitable[str]]
"""Why the application isn't well; "" if it is."""


@dataclass(frozen=True, slots=True)
class HealthProbe:
    """`istio.networking.v1alpha3.ReadinessProbe`. Times in seconds. command: in place of `prober`."""

    prober: Prober | None
    command: tuple[str, ...] = ()
    initial_delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    successes: int = 1
    failures: int = 3


def read_health_probe(given: Mapping[str, Any]) -> HealthProbe | None:
    """None for an empty one. Raises ValueError, KeyError, TypeError."""
    if not given:
        return None
    command: Sequence[Any] = ((given.get("exec") or {}).get("command")) or ()
    timeout = _number(given, "timeoutSeconds", 1)
    return HealthProbe(
        prober=None if command else read_prober({**given, "timeoutSeconds": timeout}),
        command=tuple(map(str, command)),
        initial_delay=_number(given, "initialDelaySeconds", 0),
        period=_number(given, "periodSeconds", 10),
        timeout=timeout,
        successes=int(_number(given, "successThreshold", 1)),
        failures=int(_number(given, "failureThreshold", 3)),
    )


def _number(given: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = float(given.get(name) or otherwise)
    if value < 0:
        raise ValueError(f"{name} is negative")
    return value


async def watch_health(health: HealthProbe, ready: Check, application_ip: str, report: Callable[[str], None]) -> None:
    """Probe until cancelled. ready: of the proxy. report: takes "" for well, and why not otherwise."""
    await asyncio.sleep(health.initial_delay)
    state: bool | None = None
    successes = failures = 0
    while True:
        problem = await ready() or await _check(health, application_ip)
        successes, failures = (0, failures + 1) if problem else (successes + 1, 0)
        if not problem and successes >= health.successes and state is not True:
            state = True
            report("")
        elif problem and failures >= health.failures and state is not False:
            state = False
            report(problem)
        await asyncio.sleep(health.period)


async def _check(health: HealthProbe, application_ip: str) -> str:
    if health.prober is None:
        return await _run(health.command, health.timeout)
    reply = await probe(health.prober, Request("GET", "/"), application_ip)
    if 200 <= reply.status < 400:
        return ""
    return reply.body.decode("utf-8", "replace").strip()[:200] or f"status {reply.status}"


async def _run(command: Sequence[str], timeout: float) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        return str(error)
    try:
        async with asyncio.timeout(timeout):
            code = await process.wait()
    except TimeoutError:
        return f"{command[0]} didn't end within {timeout:g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return f"{command[0]} ended with {code}" if code else ""
