"""What shows that a node keeps its promises when everything around it misbehaves.

``faults`` names every fault, ``legs`` where it happens, ``cells`` crosses them with the states
a node may be in and says what is to be answered; ``run`` runs one cell. ``crash`` kills a real
process, ``fuzz`` feeds parsers. All of it is ``python -m tests.trust`` (``make trust``), which
writes docs/reliability.md; a seeded slice is in ``tests/test_trust_*.py``.
"""
