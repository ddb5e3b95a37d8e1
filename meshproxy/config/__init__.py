"""From the text of a bootstrap, or from a resource that discovery brought, to the immutable model; no input, no output.

    bootstrap    the whole of it, and single resources
    listeners    listeners and their filter chains
    clusters     clusters, their endpoints, balancing and health
    http         connection managers, virtual hosts and routes; filters, and what routes say about them
    tls          contexts and secrets
    reporting    access logs, tracing, statistics
    matching     matchers of values, requests and connections
    values       what all of those read: addresses, data sources, formats, sources of discovery
    text         YAML, JSON and protobuf as messages that know their places, and the API's own rules on them

Each line imports only from lines below it (checked).
"""
