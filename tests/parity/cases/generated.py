"""Two of the configurations that `python -m tests.parity.generate` makes, by seeds with much in them."""

from __future__ import annotations

from ..generate.comparison import generated

CASES = [generated(seed, most=8) for seed in (101, 118)]
