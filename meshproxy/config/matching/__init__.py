"""Matchers of values, requests and connections, and trees of them."""
