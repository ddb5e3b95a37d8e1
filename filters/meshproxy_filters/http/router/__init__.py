"""The router, last filter of each chain: which cluster and host, how often, how long, what becomes of the answer."""
