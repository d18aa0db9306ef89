"""Kubernetes without a cluster: the manifests, rendered by kubectl and run as they are written.

``manifests`` reads what kubectl renders. ``image`` builds the image under a dockerd of the
tests. ``pod`` is a kubelet in small: it makes a pod's sandbox, publishes its hostPort with the
real CNI plug-in, runs its init containers and its container as written, and probes it.
``nodes`` are machines of a cluster, with the runtimes that pull through the pod.
"""
