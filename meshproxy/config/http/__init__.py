"""Connection managers, virtual hosts and routes; filters, and what routes say about them."""
