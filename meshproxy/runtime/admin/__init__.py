"""The pages of the admin listener."""
