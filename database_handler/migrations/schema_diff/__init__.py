"""Turns one snapshot into another: `diff`."""
