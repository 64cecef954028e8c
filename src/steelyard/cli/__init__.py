"""The command line: one module a command, and what they share (streams, progress, options).

Belongs here: words in, text or one JSON object out. Not here: the work itself; heavy libraries are imported inside
the command that needs them, so that `--help` is instant.
"""
