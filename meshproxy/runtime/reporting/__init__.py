"""What leaves the proxy about its traffic: access logs, traces and statistics, to files and to services."""
