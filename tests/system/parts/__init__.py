"""Real parts of the system ring: registries, runtimes, userlands, and the node itself.

Every part keeps to a temporary folder and to loopback, waits for readiness by a
condition, and stops what it started by its process id. A part that this machine
lacks raises ``MissingPart``; the fixtures turn that into a named skip, or into a
failure where ``CI=true``.
"""
