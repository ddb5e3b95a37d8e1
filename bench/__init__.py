"""The judge: does Envoy pay more than meshproxy for the same work? `python -m bench --help` says how to ask it."""
