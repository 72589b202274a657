"""The commands of ``kmstool-instance``, one module each, named after the command."""
