"""A model that says which of two answers is better, and whether its word may count.

Belongs here: the endpoint, the questions put to it, the licence, and a stand-in for trying the wiring. Not here: scores
that need no judge (see `steelyard.evaluate.scores`) and what follows from any of them.
"""
