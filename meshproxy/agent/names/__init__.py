"""The name server of the pod."""
