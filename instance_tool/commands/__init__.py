"""The commands of ``kmstool-instance``: one module for each, named after it.

Each module has a settings class, the options that fill it, and a function. Code that commands share is in
``instance_tool.console``. Internal: not part of the public API.
"""
