"""Connections under way: relayed, counted, limited and ended in time."""
