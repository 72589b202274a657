"""AWS credentials on the parent instance: how they are found and renewed.

Internal: ``instance_tool.client`` exports what programs need.
"""
