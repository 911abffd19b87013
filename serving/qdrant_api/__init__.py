"""The read-only part of Qdrant's REST API over the collection, below ``/qdrant``.

The official client and Qdrant's dashboard can be pointed at it.  Requests and
answers are the models of ``qdrant_client.models``; the tenant is the caller's,
as on every other route.
"""
