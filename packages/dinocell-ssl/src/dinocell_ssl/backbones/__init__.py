"""Backbone files: written, opened, started from and exported."""
