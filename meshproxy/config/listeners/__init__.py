"""Listeners and their filter chains."""
