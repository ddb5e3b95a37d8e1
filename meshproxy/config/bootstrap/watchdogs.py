"""`watchdogs`, and `watchdog`, which stands for both of them (envoy.config.bootstrap.v3.Watchdogs)."""

from __future__ import annotations

from meshproxy.config.values.context import CompileContext
from meshproxy.model.watchdog import Watchdog
from meshproxy.plugin.view import ConfigView


def compile_watchdogs(view: ConfigView, context: CompileContext) -> tuple[Watchdog, Watchdog]:
    """Those of the main thread and of the workers, from the bootstrap. Problems are noted in the context."""
    both, each = view.view("watchdog"), view.view("watchdogs")
    if both is not None and each is not None:
        context.problems.append(view.error("only one of watchdog and watchdogs can be set", "watchdog"))
        each.raw()
    elif each is not None:
        main, worker = each.view("main_thread_watchdog"), each.view("worker_watchdog")
        return _compile(main, context), _compile(worker, context)
    of_both = _compile(both, context)
    return of_both, of_both


def _compile(view: ConfigView | None, context: CompileContext) -> Watchdog:
    default = Watchdog()
    if view is None:
        return default
    with view.collect(context.problems):
        return Watchdog(
            miss=view.seconds("miss_timeout", default.miss),
            megamiss=view.seconds("megamiss_timeout", default.megamiss),
            kill=view.seconds("kill_timeout", 0.0),
            kill_jitter=view.seconds("max_kill_timeout_jitter", 0.0),
        )
    return default
