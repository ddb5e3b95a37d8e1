"""A service mesh proxy that reads Envoy's configuration."""

from meshproxy import lazy_import
from meshproxy.messages import api_import

api_import.install()
lazy_import.install()
