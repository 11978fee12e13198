"""Registers the task with espnetez, without importing it: that takes ten seconds."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_TASKS = "espnetez.task"


def register() -> None:
    """Add ``part`` to espnetez' tasks now if they are loaded, and when they are otherwise."""
    if _TASKS in sys.modules:
        _add(sys.modules[_TASKS])
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _add(module: ModuleType) -> None:
    from espnet_part.task import PARTTask

    module.TASK_CLASSES["part"] = PARTTask


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself; sees espnetez' task module come by and adds to it once it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _TASKS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_add(module: ModuleType) -> Any:
            load(module)
            _add(module)

        spec.loader.exec_module = load_and_add  # type: ignore[method-assign]
        return spec
