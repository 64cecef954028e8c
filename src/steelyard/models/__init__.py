"""Models: where they come from, how they are loaded, and in which precision.

Belongs here: model names, the model cache, conversion, checkpoints, precision, the attention function. Not here:
what is done with a model (see `steelyard.generate`, `steelyard.index` and `steelyard.tune`).
"""
