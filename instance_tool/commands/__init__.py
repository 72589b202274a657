"""The commands of ``kmstool-instance``: one module for each, named after it.

Each has a class of settings, the options that these come from, and a function. What several of them share is in
``instance_tool.console``. Internal: not part of the public API.
"""
