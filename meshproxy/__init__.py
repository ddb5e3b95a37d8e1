"""A service mesh proxy that reads Envoy's configuration."""

from meshproxy import api_import, lazy_import

api_import.install()
lazy_import.install()
