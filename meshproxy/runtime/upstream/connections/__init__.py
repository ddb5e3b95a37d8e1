"""Connections to hosts, raw and with HTTP, and the pools that requests take them from."""
