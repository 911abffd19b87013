"""Another encoder without downtime: a second collection is built, compared, switched to, or dropped.

``python -m indexing migrate start`` lists a new *generation* in the catalogue
and fills it from the stored text.  From that moment every write goes to both
generations, and one row of the catalogue says which of them is served.
"""
