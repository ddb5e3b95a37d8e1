"""The router, the last filter of each chain: which cluster and host, how often, how long, and what becomes of the answer."""
