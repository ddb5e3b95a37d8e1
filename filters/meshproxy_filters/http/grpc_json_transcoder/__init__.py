"""gRPC services for clients that speak JSON over HTTP: which method a request means, and its messages both ways."""
