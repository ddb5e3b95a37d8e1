"""The collector of cycles beside traffic: when it must not run, and what it needn't look at.

A collection looks through everything that was made since the last one, and holds the loop up as long as that takes: a
tenth of a second after two hundred thousand objects, a hundred times what a request may wait. What makes so many at
once is known: pages of the admin interface, whose objects are gone again when the page is sent, and large pushes of
configuration, whose objects stay. Neither leaves cycles behind, so nothing is missed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_holders = 0
_collects = True

MANY = 200
"""Resources; fewer are collected like all else."""

LARGE = 1 << 17
"""Bytes of resources; the same for few of them."""


def pause_collector() -> None:
    """No collections until `resume_collector` was called as often as this."""
    global _holders, _collects
    if not _holders:
        _collects = gc.isenabled()
        gc.disable()
    _holders += 1


@contextmanager
def making_much(much: bool) -> Iterator[None]:
    """While something is made that stays: no collections, if it is much."""
    if not much:
        yield
        return
    pause_collector()
    try:
        yield
    finally:
        resume_collector(keep=True)


def resume_collector(*, keep: bool = False) -> None:
    """Collect again. keep: what was made meanwhile stays for long and isn't looked through again."""
    global _holders
    _holders -= 1
    if keep:
        gc.freeze()
    if not _holders and _collects:
        gc.enable()
