"""The compiled configuration: frozen values that the whole program shares and nothing changes.

Configuration is compiled once into these objects and swapped whole; a connection keeps those it began with. They hold
no protobuf, no I/O and no behaviour beyond look-ups, so every layer above may depend on them. Objects that are used
as dictionary keys compare by identity (`eq=False`): two equal routes are still two routes.
"""
