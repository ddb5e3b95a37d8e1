"""Header changes that routes configure; filters make the same ones, so the code is part of their API."""

from __future__ import annotations

from meshproxy.plugin.mutations import apply_addition, apply_mutations

__all__ = ["apply_addition", "apply_mutations"]
