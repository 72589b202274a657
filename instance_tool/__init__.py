"""The parent instance's side: ``kmstool-instance``, and ``instance_tool.client`` for Python programs.

Only ``instance_tool.client`` is public; the other packages and modules below this one are internal.

PYTEST_DONT_REWRITE: without this word, pytest warns when a program imports this package before it starts pytest.
"""
