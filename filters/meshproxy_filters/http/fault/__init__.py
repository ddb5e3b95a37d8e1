"""Faults on purpose: delays, aborts and slow answers."""
