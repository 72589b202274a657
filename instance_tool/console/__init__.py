"""Code that the commands of ``kmstool-instance`` share: options and settings, input and output.

Only this package and the commands themselves deal with the command line. Internal: not part of the public API.
"""
