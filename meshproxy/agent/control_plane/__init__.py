"""Between proxy and control plane: the relay, and what it takes out of it."""
