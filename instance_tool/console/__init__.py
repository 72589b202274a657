"""What the commands of ``kmstool-instance`` share: options and settings, what they read, and what they write.

The only package of this side, besides the commands themselves, that knows about command lines. Internal: not part of
the public API.
"""
