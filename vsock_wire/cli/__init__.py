"""What all command-line programs of the project share.

No other package below the tools knows about command lines. Internal: not part of the public API.
"""
