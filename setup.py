"""Build metadata of nodecache; the version is said once, in nodecache/__init__.py."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """The version as nodecache/__init__.py says it, read without importing."""
    text = (HERE / "nodecache" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError("nodecache/__init__.py does not say a version")
    return match.group(1)


def long_description() -> str:
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


# The oldest ones are tried on Pythons for which they were made (constraints-oldest.txt).
OTEL = [
    "opentelemetry-exporter-otlp-proto-http>=1.27",
    "opentelemetry-sdk>=1.27",
]

TEST = [
    *OTEL,
    "grafana-foundation-sdk>=1769699998!10",
    "hypothesis>=6.100",
    "kubernetes-validate>=1.34",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "PyJWT>=2.8",
    "PyYAML>=6.0",
]

#: For the status page in a real Chromium (tests/system/test_page.py); nothing else needs it.
TEST_PAGE = ["axe-playwright-python>=0.1.8", "playwright>=1.50"]

#: What `make bench` measures beside, and can do without.
BENCH = ["drayage>=0.2.9", "py-spy>=0.4"]

#: What `make trust` can do without, but does less.
TRUST = ["atheris>=2.3; python_version<'3.14'"]

DEV = [
    *TEST,
    *TEST_PAGE,
    "cyclonedx-bom>=5",
    "mypy>=1.13",
    "mypy-zope>=1.0.8",
    "pip-audit>=2.7",
    "pip-tools>=7.4",
    "ruff>=0.8",
    "tox>=4.20",
    "types-pyOpenSSL",
    "types-PyYAML",
    "types-setuptools",
]

setup(
    name="nodecache",
    version=version(),
    description="A registry mirror on every node: pulls come from disk, or from Docker Hub.",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["nodecache", "nodecache.*"]),
    package_data={"": ["py.typed", "*.css", "*.js"]},
    python_requires=">=3.11",
    # The oldest versions stand, exactly, in constraints-oldest.txt, and the
    # matrix runs on them.
    install_requires=[
        "attrs>=23.2",
        "click>=8.2",
        "isal>=1.8,<2",  # CRC-32 at the speed of the memory
        "klein>=24.8",
        "prometheus-client>=0.20",
        "PyYAML>=6.0.2",  # doctor reads the kubelet's configuration
        "rich>=14.3",  # before, a bar that is not shown leaves an empty line
        "Twisted[tls]>=24.7",
    ],
    extras_require={
        # Traces for a collector; nothing else needs it, and serve loads it only when told to.
        "otel": OTEL,
        "test": TEST,
        "test-page": TEST_PAGE,
        "trust": TRUST,
        "dev": DEV,
        "bench": BENCH,
    },
    entry_points={"console_scripts": ["nodecache=nodecache.__main__:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Internet :: WWW/HTTP",
        "Topic :: Internet :: Proxy Servers",
        "Typing :: Typed",
    ],
)
