"""How the application is: its probes, made in the place of the kubelet."""
