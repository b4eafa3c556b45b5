"""Configurations, a file each, whose get_config() returns it.

`--config=show_and_tell` means the file of that name here.
"""
