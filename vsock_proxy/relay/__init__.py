"""Connections under way: admitted, relayed, counted and ended in time.

Internal: not part of the public API.
"""
