"""Token buckets of this proxy alone."""
