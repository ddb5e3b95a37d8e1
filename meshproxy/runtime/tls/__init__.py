"""Transports with TLS on either side, and the secrets that they use."""
