# The image that runs on every node: a virtual environment on a slim Python, nothing else.
#
#     make image                                   # docker build, tagged nodecache:VERSION
#     docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/nodecache:VERSION --push .
#
# The base is pinned by its tag; pin it harder by its digest in a registry that you trust:
#     --build-arg BASE_IMAGE=docker.io/library/python@sha256:...
# Any base with Python 3.11 or newer and its venv module will do. Nothing here depends on the
# processor: what is compiled comes as wheels, which the lock names for amd64 and for arm64.
ARG BASE_IMAGE=docker.io/library/python:3.13.9-slim-trixie

FROM ${BASE_IMAGE} AS build
# Where packages come from, on networks that have an index or a CA of their own. These stay in
# this stage: none of them reaches the image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ARG PIP_DEFAULT_TIMEOUT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The tools of the build have a place of their own; the environment that ships has not even pip.
RUN ["python3", "-m", "venv", "/opt/build"]
RUN ["python3", "-m", "venv", "--without-pip", "/opt/nodecache"]
COPY requirements-build.lock requirements.lock ./
RUN ["/opt/build/bin/pip", "install", "--require-hashes", "--only-binary=:all:", \
     "-r", "requirements-build.lock"]
RUN ["/opt/build/bin/pip", "--python", "/opt/nodecache/bin/python", "install", \
     "--require-hashes", "--no-deps", "--only-binary=:all:", "-r", "requirements.lock"]
COPY setup.py pyproject.toml README.md LICENSE ./
COPY nodecache nodecache
RUN ["/opt/build/bin/pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation", \
     "--wheel-dir", "/out", "."]
RUN ["/opt/build/bin/pip", "--python", "/opt/nodecache/bin/python", "install", \
     "--no-deps", "--no-index", "--find-links", "/out", "nodecache"]
# Every version that the lock names fits what nodecache asks for, or the build ends here.
RUN ["/opt/build/bin/pip", "--python", "/opt/nodecache/bin/python", "check"]
# The data folder, owned by whoever runs it, so that it also starts without a volume.
RUN ["install", "-d", "-o", "65532", "-g", "65532", "-m", "0750", "/out/data"]

FROM ${BASE_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="nodecache" \
      org.opencontainers.image.description="A registry mirror on every node of a cluster" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /opt/nodecache /opt/nodecache
COPY --from=build --chown=65532:65532 /out/data /var/lib/nodecache
# The official Python comes without compiled modules, and where a node runs none can be written:
# each start would compile what it loads of the standard library. So that is loaded here, once.
RUN ["/opt/nodecache/bin/python", "-I", "-c", "import nodecache.cli.serve, nodecache.service"]
# In a container its own localhost is of no use. What may reach these ports is for whoever runs
# it to say: publish 5000 on 127.0.0.1 only.
ENV PATH=/opt/nodecache/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NODECACHE_DATA_DIR=/var/lib/nodecache \
    NODECACHE_LISTEN=[::]:5000 \
    NODECACHE_ADMIN_LISTEN=[::]:5002
# Numeric, so that a kubelet can see that it is not root.
USER 65532:65532
WORKDIR /
EXPOSE 5000 5001 5002
STOPSIGNAL SIGTERM
# No shell, and no HEALTHCHECK: Kubernetes probes /healthz and /readyz on the admin port.
ENTRYPOINT ["/opt/nodecache/bin/nodecache"]
CMD ["serve"]
