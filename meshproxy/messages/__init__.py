"""The protobuf messages that configuration is written in: published, newer than what is published, and Istio's own."""
