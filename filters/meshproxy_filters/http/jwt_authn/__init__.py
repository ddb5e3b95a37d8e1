"""JSON Web Tokens: where they are, whose they are, and which of them a request needs."""
