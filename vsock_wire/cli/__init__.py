"""The skeleton of every command-line program of the project.

The only package below the tools that knows about command lines. Internal: not part of the public API.
"""
