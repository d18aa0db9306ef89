"""The status page: documents of ``/api/v1/`` in, one self-contained HTML document out.

Nothing here looks at the node or knows a reactor: ``site`` alone does.
"""
