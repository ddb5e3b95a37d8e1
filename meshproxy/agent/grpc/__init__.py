"""gRPC for the agent: calls and servers, each on a connection of its own."""
