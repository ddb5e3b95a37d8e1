"""How the programs stop taking, finish, and end."""

from __future__ import annotations

from typing import Any

from ..case import OK, Case, Client, Signal, WaitExit, admin, answer, client, get

HC = "headers: [{name: ':path', string_match: {exact: /healthz}}]"


def after(name: str, path: str, *clients: Client, method: str = "POST", **more: Any) -> Case:
    """`path` is asked half a second after the beginning."""
    return Case(f"drain-{name}", clients=(*clients, admin(path, method, start=0.5)), alone=True, sort_log=True, **more)


FAST = ("--drain-time-s", "2", "--drain-strategy", "immediate")
BEFORE = client(get("/before"), 1.0, get("/after"))

CASES = [
    after("health-check-fail", "/healthcheck/fail", BEFORE, client(get("/new"), start=1.4), admin("/ready", start=1.0)),
    after(
        "health-check-fail-filter",
        "/healthcheck/fail",
        client(get("/healthz"), 1.0, get("/healthz")),
        filters=f"- health_check: {{pass_through_mode: false, {HC}}}",
    ),
    after(
        "health-check-fail-then-ok",
        "/healthcheck/fail",
        admin("/healthcheck/ok", "POST", start=1.0),
        admin("/ready", start=1.4),
        client(get("/new"), start=1.4),
    ),
    after(
        "health-check-fail-header-passes",
        "/healthcheck/fail",
        client(get("/x"), start=1.0),
        filters=f"- health_check: {{pass_through_mode: true, {HC}}}",
    ),
    after("listeners", "/drain_listeners", BEFORE, client(get("/new"), start=1.2)),
    Case(
        "drain-listeners-in-flight",
        clients=(client(get("/slow"), quiet=2.5), admin("/drain_listeners", "POST", start=0.5)),
        upstreams=answer(1.5, OK),
        alone=True,
    ),
    after(
        "graceful",
        "/drain_listeners?graceful",
        client(get("/before"), 1.0, get("/after")),
        client(get("/new"), start=1.4),
        client(get("/too-late"), start=3.5),
        args=FAST,
    ),
    after(
        "graceful-skip-exit",
        "/drain_listeners?graceful&skip_exit",
        client(get("/new"), start=1.0),
        client(get("/later"), start=3.5),
        args=FAST,
    ),
    after("inbound-only-of-unspecified", "/drain_listeners?inboundonly", client(get("/new"), start=1.0)),
    after(
        "inbound-only-of-inbound",
        "/drain_listeners?inboundonly",
        client(get("/new"), start=1.0),
        listener="traffic_direction: INBOUND",
    ),
    after(
        "inbound-only-of-outbound",
        "/drain_listeners?inboundonly",
        client(get("/new"), start=1.0),
        listener="traffic_direction: OUTBOUND",
    ),
    after("ready-after-drain", "/drain_listeners", admin("/ready", start=1.0), admin("/listeners", start=1.2)),
    Case(
        "exit-quitquitquit",
        clients=(admin("/quitquitquit", "POST", start=0.3), Client((WaitExit(8.0),), timing=False)),
        alone=True,
    ),
    Case("exit-term-idle", clients=(Client((0.3, Signal("TERM"), WaitExit(8.0)), timing=False),), alone=True),
    Case("exit-int-idle", clients=(Client((0.3, Signal("INT"), WaitExit(8.0)), timing=False),), alone=True),
    Case(
        "signal-usr1-keeps-running",
        clients=(Client((0.3, Signal("USR1"), 0.3, get())),),
        alone=True,
        masks=(("nothing", ""),),
    ),
    Case("signal-hup-keeps-running", clients=(Client((0.3, Signal("HUP"), 0.3, get())),), alone=True),
]
