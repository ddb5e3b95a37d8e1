"""The same configuration and the same bytes given to Envoy and to meshproxy, and what each of them did compared."""
