"""Showing requests and responses to a service that may change them."""
