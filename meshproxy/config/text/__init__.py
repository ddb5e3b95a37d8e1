"""YAML, JSON and protobuf as messages that know their places, and the API's own rules on their values."""
