"""TLS contexts, secrets and transport sockets."""
