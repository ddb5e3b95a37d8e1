"""A secret that a filter was configured with by name (`SdsSecretConfig`), as it is now."""

from __future__ import annotations

from typing import Protocol


class LiveSecret(Protocol):
    """value: b"" as long as there is none. It may change at any time: ask when it is needed, and don't keep it."""

    @property
    def value(self) -> bytes: ...
