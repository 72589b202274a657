"""Open connections: admitted, relayed, counted, and closed on time.

Internal: not part of the public API.
"""
