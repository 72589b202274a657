"""What ``kmstool-instance doctor`` looks at: each hop between this instance and KMS.

Internal: not part of the public API.
"""
