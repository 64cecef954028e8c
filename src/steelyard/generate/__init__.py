"""Generation: prompts in, completions out.

Belongs here: the protocol, the generator in this process and a scripted stand-in. Not here: which prompts are asked
and how answers are stored and scored (see `steelyard.evaluate`).
"""
