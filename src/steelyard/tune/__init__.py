"""Tuning: a LoRA adapter from examples, tracked in MLflow.

Belongs here: the recipe, tokenised examples, training with resume, and what is tracked of it. Not here: which
examples are trained on (see `steelyard.training_set`) and whether tuning pays (see `steelyard.decide`).
"""
