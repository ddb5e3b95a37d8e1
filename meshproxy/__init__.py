"""A service mesh proxy that reads Envoy's configuration."""

from meshproxy.api_import import install

install()
