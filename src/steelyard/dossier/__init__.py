"""The dossier: what a reviewer reads, as a page, as Markdown and as a table.

Belongs here: putting scores, verdicts, answers and lineage into words, tables and charts, and the files that hold
them. Not here: measuring and judging; nothing here changes a number or a verdict.
"""
