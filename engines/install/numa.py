"""libnuma, the one system library the CPU engine links to and no package of Python's brings along."""

from __future__ import annotations

import ctypes

from engines.install import apt

LIBRARY, DEBIAN_PACKAGE = "libnuma.so.1", "libnuma1"


def is_there() -> bool:
    """Whether the dynamic linker finds it."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def ensure() -> None:
    """Install it if it is missing and we may."""
    if not is_there() and apt.may_install():
        apt.install(DEBIAN_PACKAGE)
