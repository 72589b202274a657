"""Connections under way: admitted, relayed, counted and ended in time."""
