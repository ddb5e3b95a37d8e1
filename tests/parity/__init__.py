"""The same configuration and the same bytes given to Envoy and to meshproxy, and what each of them did compared.

    python -m tests.parity NAME             one case (or an area, or a pattern) on both, with a diff
    python -m tests.parity --only envoy NAME    what Envoy does
    python -m tests.parity --ours envoy     Envoy against itself: nothing may differ
    pytest tests/parity                     all of them, a test for each

`case` says what a case is, `cases/` holds them by area, `bootstrap` makes one configuration of many, `subject` is a
running program, `upstream` a scripted peer, `wire` the strict reader of what was emitted, `transcript` what is
compared, `runner` and `suite` how it is run, `known` what differs on purpose.

A new case is an entry in a list in `cases/`. No expected value is written: look at what Envoy does with it first
(`--only envoy`), and say with `shows` what proves that it tests what its name says.
"""
