"""A configuration of one's own on both programs: `python -m tests.parity.compare FILE`."""
