"""Ingest: files in, dated snapshots of documents, pairs and cases out, loaded by dlt into a warehouse.

Belongs here: everything that reads sources or knows dlt, which nothing else imports. Not here: rules about content
across tables (`steelyard.validate`), and the order in which stages run (`flows`).
"""
