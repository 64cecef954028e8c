"""Documents become passages that can be found: splitting, embedding, stores, keeping a store in step.

Belongs here: everything between a stream of `Document`s and the `Hit`s of a search. Not here: where documents come
from, which store or embedder a project uses, what is done with hits.
"""
