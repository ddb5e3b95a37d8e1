"""Installs, explains, checks and removes the rules that send a pod's traffic through its proxy; runs alone."""
