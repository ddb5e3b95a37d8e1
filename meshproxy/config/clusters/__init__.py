"""Clusters, their endpoints, balancing and health."""
