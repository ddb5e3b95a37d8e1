"""Access logs, tracing and statistics."""
