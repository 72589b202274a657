"""The wire protocol: its vocabulary, its JSON, its messages and their fields (pure).

Nothing in this package opens, waits or reads a clock. Internal: not part of the public API.
"""
