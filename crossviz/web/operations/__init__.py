"""What whoever runs a server sees of it: logs, health and metrics, none of which holds anything of a visitor's.

docs/deploy.md says what there is. Each costs nothing where it is off.
"""
