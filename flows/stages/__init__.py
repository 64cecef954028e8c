"""What each stage of a run does: looks into the ledger, works where something is missing, and records it.

Belongs here: plain functions, one module a stage. Not here: order, retries and artifacts (see `flows.release`).
"""
