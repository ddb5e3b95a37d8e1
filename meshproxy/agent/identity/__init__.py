"""The certificate of the workload: asked for, renewed, handed to the proxy."""
