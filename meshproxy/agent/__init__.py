"""The agent: the process beside the proxy that starts it, says whether it is ready, and ends it in good order.

    settings  <- environment, PROXY_CONFIG, flags          what is wanted
    bootstrap <- settings                                   what the proxy is started with
    supervisor: the proxy's process and the signals         drain: in which steps it ends
    status: readiness, merged metrics, probes, shutdown     http: the server and the client below
    dns_*: names of the mesh, answered on the spot

It does what Istio's pilot-agent does, on the same ports and under the same names, so that it can be put in its place.
"""
