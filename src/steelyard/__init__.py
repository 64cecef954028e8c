"""Steelyard weighs base, RAG, tuned and hybrid on your own data and promotes the arm that the evidence favours."""

__version__ = "0.1.0"
