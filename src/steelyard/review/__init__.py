"""Review: whether an approved version may become champion, as pure functions.

Belongs here: the states of a review and what follows from them; which cases a smoke test asks and when it passes. Not
here: reading and writing the registry (`steelyard.promote`), and the order of the steps (`flows.reviewing`).
"""
