"""`meshproxy-iptables`: the init container's command, and its table of contents.

Exit codes: 0 done, 1 failed, 2 wrong usage, 126 the rules are in and traffic is not captured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from . import apply, flags, iptables_text, namespaces, nft_text, settings, surroundings
from .backend import resolve
from .errors import InterceptionError
from .flags import Value
from .log import Log, Say, parse_level
from .options import Options
from .plan import build
from .rules import Plan
from .settings import Settings


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    action, values = flags.parse(sys.argv[1:] if argv is None else argv, os.environ if environ is None else environ)
    say = Log()
    try:
        level = values["log_output_level"]
        say = Log(parse_level(level.text, level.source), flags.boolean(values["log_as_json"]))
        return _run(action, values, say)
    except InterceptionError as error:
        say(f"error: {error}")
        return error.exit_code
    except OSError as error:
        say(f"error: {error}")
        return 1


def command() -> None:
    """The entry of a zipapp, which ignores what `main` returns."""
    sys.exit(main())


def _run(action: str, values: Mapping[str, Value], say: Say) -> int:
    _enter(values["network-namespace"].text)
    options, how, warnings = settings.read(values, surroundings.of_this_host())
    for warning in warnings:
        say(f"warning: {warning}")
    plan = build(options)
    if how.dry_run:
        _print(plan, how)
        return 0
    if how.cni_mode:
        namespaces.hide_name_service()
    if action == "check":
        return _check(plan, options, how, say)
    if how.cleanup_only:
        apply.uninstall(how, say)
        return 0
    if not how.skip_rule_apply:
        _warn_of_ipv6(options, say)
        apply.install(plan, how, say)
    if how.run_validation:
        _validate(options, how, say)
    return 0


def _enter(network_namespace: str) -> None:
    """First of all: the pod's addresses decide about IPv6."""
    if network_namespace:
        namespaces.enter_network(network_namespace)


def _check(plan: Plan, options: Options, how: Settings, say: Say) -> int:
    from . import check  # the init container's usual run is spared its import

    lines, well = check.report(plan, options, how, say)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if well else 1


def _warn_of_ipv6(options: Options, say: Say) -> None:
    if not options.ipv6 and surroundings.has_global_ipv6(surroundings.addresses()):
        say("warning: the pod has an IPv6 address and IPv6 is off: IPv6 traffic is not captured (see --dual-stack)")


def _validate(options: Options, how: Settings, say: Say) -> None:
    from . import probes, validate  # the init container's usual run is spared their import

    pod = surroundings.pod_addresses(surroundings.addresses())
    found, notes = probes.probes(options, how.probe_port, pod, resolve)
    validate.run(options, found, notes, how.probe_timeout, say)


def _print(plan: Plan, how: Settings) -> None:
    match how.format:
        case "iptables-restore":
            text = iptables_text.render(plan)
        case "nft":
            text = nft_text.render(plan)
        case "explain":
            from . import explain  # only --dry-run needs it

            text = explain.render(plan, how.native_nftables)
    sys.stdout.write(text)
    if how.dry_run_file:
        with open(how.dry_run_file, "w", encoding="utf-8") as file:
            file.write(text)
