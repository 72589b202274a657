"""Reaching a destination: its addresses, and connecting to one of them.

Internal: not part of the public API.
"""
