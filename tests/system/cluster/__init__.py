"""A cluster on one machine: nodes, the Hub and DNS, each in a network namespace of its own.

Every station hangs on one bridge by a cable (a veth pair) whose rate is shaped
both ways; the bridge has a namespace too, so that the machine's own network
sees nothing of it. What a test does to a node is done to its cable, its packet
filter, its process or its name, never to the node's settings.
"""
