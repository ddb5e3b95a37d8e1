"""What passes between the protocol and whoever uses its resources.

A `Sink` is told of changes and nothing else: what is new or different, and what is gone. The two protocols differ in
how they say this (state-of-the-world: by leaving it out), and the muxes even that out. A sink uses what is good of an
update and returns what it refused, which becomes the error of a NACK: a refused resource is no reason to hold back its
neighbours (Envoy does the same, per resource).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from meshproxy.model.discovery import Resource
from meshproxy.records import dataclass
from meshproxy.steps import Outcome, Steps


class Sink(Protocol):
    """Whoever wants resources of one type. None of the methods raises; all may watch and close other watches."""

    def attempted(self) -> None:
        """An update was asked for, or came (`update_attempt`)."""

    def update(self, added: Sequence[Resource], removed: Sequence[str], *, full: bool, version: str) -> Outcome:
        """Apply a change. Returns the reason by name for each resource that was refused; the others are in force.

        What takes long comes as steps, and is done when the last one is.

        full: `added` is all there is. version: of the whole response; "" when it is our own doing, because a time to
        live is over. An update may be empty, which says that there is nothing, or nothing new.
        """

    def failed(self, reason: str, detail: str) -> None:
        """Nothing of an update can be used ("rejected"), or the server can't be reached ("connection")."""


class DecodeError(Exception):
    """A response that can't be understood, so that none of it is used."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A message, whether everything in it was checked, and what it was compiled to if that was the way to check it."""

    message: Any
    checked: bool = False
    compiled: Any = None


class Decoder(Protocol):
    """Bytes to a checked message; given from outside, since what is checked is configuration's business."""

    def __call__(self, type_url: str, packed: bytes) -> Steps[Unpacked]:
        """Raises DecodeError with the reason for what is no message of this type, or breaks its rules."""


class NackMessage(Protocol):
    """The error that a server is told for refused resources."""

    def __call__(self, type_url: str, errors: Mapping[str, str]) -> str:
        """errors: the reason by the resource's name."""
