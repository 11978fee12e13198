"""Which versions of packages are installed, for what reports, tables and packed models say of themselves."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

import espnet_part

# what trains and runs a model
MODEL_PACKAGES = ("espnet", "espnet_part", "torch", "transformers", "peft")


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of the packages that are installed, in the order asked for.

    This package's own is that of its source: what an editable installation says of itself is as old
    as the installation.
    """
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if "espnet_part" in found:
        found["espnet_part"] = espnet_part.__version__
    return found
