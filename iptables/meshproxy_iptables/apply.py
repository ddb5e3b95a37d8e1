"""Installing and removing: lock, choose, compare, change, tidy.

One run holds a lock on its network namespace from reading the state to changing it, so that two at once end in one
consistent state. What is in place and right stays untouched. What differs is repaired, and said.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from . import routing
from .backend import Backend
from .choice import Candidate, candidates, everywhere
from .errors import BackendError, InterceptionError
from .log import Say
from .rules import Plan
from .settings import Settings

NAMESPACE = "/proc/self/ns/net"
_FORBIDDEN = re.compile(r"not permitted|denied|must be root", re.IGNORECASE)


@contextmanager
def exclusive(say: Say) -> Iterator[None]:
    """Holds a lock that all processes of this network namespace share, on the namespace itself."""
    descriptor = os.open(NAMESPACE, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another meshproxy-iptables in this network namespace")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def install(plan: Plan, settings: Settings, say: Say) -> str:
    """Makes the rules in place those of the plan; returns the backend's name. Raises InterceptionError."""
    with exclusive(say):
        _add_routes(plan, say)
        try:
            used = _install_with_any(candidates(settings, say), plan, settings, say)
        except InterceptionError:
            if not any(_present(backend) for backend in everywhere(settings, say)):
                for line in routing.remove():
                    say(line)
            raise
        _remove_elsewhere(used, settings, say)
        return used.backend.name


def _add_routes(plan: Plan, say: Say) -> None:
    try:
        for line in routing.apply(plan):
            say(line)
    except PermissionError as error:
        raise InterceptionError(f"can't change addresses and routes: {error.strerror}: CAP_NET_ADMIN?") from None


def uninstall(settings: Settings, say: Say) -> None:
    """Removes rules, routes and addresses of ours, whichever backend they are in.

    A backend that this kernel does not have holds no rules. Raises InterceptionError if one may not be asked, or holds
    rules and won't let them go; the others are cleaned first.
    """
    failures = []
    with exclusive(say):
        for backend in everywhere(settings, say):
            try:
                present = backend.present()
            except BackendError as error:
                if _FORBIDDEN.search(str(error)):
                    failures.append(str(error))
                continue
            try:
                if present:
                    backend.remove()
                    say(f"removed: the rules of {backend.name}")
            except BackendError as error:
                failures.append(str(error))
        for line in routing.remove():
            say(line)
    if failures:
        raise InterceptionError("cleanup failed: " + "; ".join(failures))


def _install_with_any(tried: list[Candidate], plan: Plan, settings: Settings, say: Say) -> Candidate:
    failures = []
    for candidate in tried:
        try:
            _install_with(candidate, plan, settings, say)
            return candidate
        except BackendError as error:
            failures.append(str(error))
            say(f"{candidate.backend.name} does not work here: {error}")
    raise InterceptionError("no backend could install the rules: " + "; ".join(failures))


def _install_with(candidate: Candidate, plan: Plan, settings: Settings, say: Say) -> None:
    backend = candidate.backend
    say(f"backend: {backend.name} ({candidate.reason})")
    differences = backend.drift(plan)
    if not differences and not settings.force_apply:
        say(f"{len(plan.rules)} rules are in place, nothing to do")
        return
    repairing = backend.present()
    if repairing:
        for line in differences:
            say(f"repairing: {line}")
    try:
        backend.apply(plan, guard=settings.reconcile and repairing)
    except BackendError:
        if not repairing:
            _try_to_remove(backend, say)
        raise
    say(f"{len(plan.rules)} rules installed")


def _try_to_remove(backend: Backend, say: Say) -> None:
    """iptables may fail between two tables: what it did must not stay beside another backend's rules. Rules that were
    there before stay, even if they are not the right ones: without them, traffic would go round the proxy."""
    try:
        backend.remove()
    except BackendError as error:
        say(f"and could not be tidied: {error}")


def _remove_elsewhere(used: Candidate, settings: Settings, say: Say) -> None:
    """Two backends at once would capture twice."""
    for backend in everywhere(settings, say):
        if backend.name != used.backend.name and _present(backend):
            backend.remove()
            say(f"removed: rules of an earlier run in {backend.name}")


def _present(backend: Backend) -> bool:
    try:
        return backend.present()
    except BackendError:
        return False
