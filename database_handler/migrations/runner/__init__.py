"""Runs versions against a database: planned, locked, applied part by part, gone on with after any end."""
