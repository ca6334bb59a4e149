"""The command line ``pytest-memory``: parses, calls the engine the plugin uses, prints.  Floor 7.

Importing the package loads nothing: a command imports what it needs when it runs, so that ``--help`` is instant.
"""
