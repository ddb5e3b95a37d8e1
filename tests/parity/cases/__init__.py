"""The cases, one module per area; each has a list CASES."""
