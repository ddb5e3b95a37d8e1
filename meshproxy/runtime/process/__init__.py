"""What one process has once: its options, its log, its configuration, its listening sockets and its end."""
