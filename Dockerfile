# meshproxy as a container: the sidecar by default, and with another entry point the init container of the same pod.
#
#   sidecar   docker run -v ./envoy.yaml:/etc/meshproxy/envoy.yaml:ro meshproxy
#   in Istio  sidecar.istio.io/proxyImage: meshproxy: the injector's own arguments are understood (docs/agent.md)
#   init      docker run --user 0 --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW \
#               --entrypoint /opt/meshproxy/bin/meshproxy-iptables meshproxy -u 1337 -g 1337 -i '*' -b '*'
#
# It runs without a shell, as uid and gid 1337 (the user that the interception rules let pass), and writes nothing, so
# the root file system may be read-only.

# Debian 13 for its OpenSSL 3.5: a mutual TLS handshake takes a quarter less CPU than with Debian 12's 3.0 (docs/performance.md).
ARG PYTHON=3.13-slim-trixie

FROM python:${PYTHON} AS build
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/build && /opt/build/bin/pip install --quiet --require-hashes -r requirements-build.lock
RUN python -m venv /opt/meshproxy && /opt/meshproxy/bin/pip install --quiet --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY meshproxy meshproxy
COPY filters filters
COPY iptables iptables
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /opt/wheels .
RUN /opt/meshproxy/bin/pip install --quiet --no-deps --no-index /opt/wheels/*.whl \
    && /opt/meshproxy/bin/pip uninstall --quiet --yes pip

FROM python:${PYTHON}
RUN apt-get update && apt-get install --yes --no-install-recommends iptables nftables && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 1337 meshproxy && useradd --uid 1337 --gid 1337 --no-create-home --shell /usr/sbin/nologin meshproxy
COPY --from=build /opt/meshproxy /opt/meshproxy
# What Istio's injector writes into a pod calls it pilot-agent: in hooks, probes and arguments.
RUN ln -s /opt/meshproxy/bin/meshproxy /usr/local/bin/pilot-agent \
    && ln -s /opt/meshproxy/bin/meshproxy /usr/local/bin/meshproxy
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HEALTHCHECK_ADDRESS=127.0.0.1:15000
USER 1337:1337
ENTRYPOINT ["/opt/meshproxy/bin/meshproxy"]
CMD ["-c", "/etc/meshproxy/envoy.yaml"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/opt/meshproxy/bin/python", "-c", "import http.client, os, sys; asked = http.client.HTTPConnection(os.environ['HEALTHCHECK_ADDRESS'], timeout=2); asked.request('GET', '/ready'); sys.exit(asked.getresponse().status != 200)"]
