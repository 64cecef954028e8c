"""Answering the cases and scoring the answers."""
