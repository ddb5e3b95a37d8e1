"""Raw HTTP/1 messages, good and bad, sent through the whole proxy, and judged."""
