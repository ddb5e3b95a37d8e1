"""Configuration that changes while the proxy runs: sources, and what becomes of each resource."""
