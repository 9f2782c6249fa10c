"""Filters: each decides alone which hosts can take a server, and says why the others cannot.

A filter is a module with three functions over rows of the table:

    keep(spec, table, rows) -> Mask      which of the rows it keeps
    reason(spec, table, row) -> str      why it rejects this one, with names and amounts: for administrators
    summary(spec, table, rows) -> [str]  why it rejects these, in counts and amounts alone: for any user

`scheduler.select` lists them in the order in which they are asked; docs/howto/add-a-filter.md shows how to add one.
"""
