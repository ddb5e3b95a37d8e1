"""The only package with asyncio, sockets and ssl: it moves bytes, and asks the pure packages what to do with them.

    admin        pages for people and tools
    discovery    configuration that changes while traffic runs
    workers      several processes that carry traffic as one
    process      what one process has once: options, log, configuration, listening sockets, its end
    downstream   clients: accepted connections, their filter chains, the streams of HTTP on them
    tls          transports with TLS, and their secrets
    reporting    access logs, traces and statistics on their way out
    upstream     hosts: clusters that live, their health, pools and the connections in them
    worker, …    what all of those stand on: one event loop with its resolver, timers and values
    dns          names to addresses

Each line imports only from lines below it (checked). The worker holds the clusters, logs and connections of its loop,
and knows them as types alone.
"""
