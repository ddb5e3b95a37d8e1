"""Several processes that carry traffic as one: starting, telling and replacing them, adding up what they count."""
