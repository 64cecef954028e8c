"""Prefect flows: order, retries, artifacts. Nothing else imports Prefect."""
