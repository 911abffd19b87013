"""A file to documents, in a process that can do no harm.

Light on purpose: a parser process imports this and neither the catalogue nor
the collection.
"""
