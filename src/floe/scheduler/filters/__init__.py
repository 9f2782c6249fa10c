"""Filters: each decides alone which hosts can take a server, and says why the others cannot.

A filter is a module with three functions:

    keep(spec, table) -> Keep | None     which of some rows it keeps; None where the request asks nothing of the kind
    reason(spec, table, row) -> str      why it rejects this one, with names and amounts: for administrators
    summary(spec, table, rows) -> [str]  why it rejects these, in counts and amounts alone: for any user

`scheduler.select` lists them in the order in which they are asked; docs/howto/add-a-filter.md shows how to add one.
"""
