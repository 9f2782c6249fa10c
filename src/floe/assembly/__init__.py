"""The composition root: the only package that chooses implementations and ties them together.

`node` is the whole cloud in one process; `roles` are the processes of one role each.
"""
