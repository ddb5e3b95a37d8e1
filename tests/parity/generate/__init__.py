"""Configurations that chance makes, with requests, for both programs: `python -m tests.parity.generate --seed 7`.

A configuration is whole and sensible, but its parts are combined as nobody would combine them: each value is drawn from
what Envoy's users write. The same seed gives the same configuration and requests. What takes chance or time at run
time (fractions, delays, rates) is left out, so that each difference between the programs is one.
"""
