"""AWS credentials on the parent instance: where they are found, and how they are renewed.

Internal: ``instance_tool.client`` exports what programs need.
"""
