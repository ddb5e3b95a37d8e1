"""The clients' side: listening sockets, accepted connections, their filter chains, and the streams of HTTP on them."""
