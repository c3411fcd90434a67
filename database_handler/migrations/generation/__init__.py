"""Versions written from the models, and the whole chain tried: generate, check, verify, squash."""
