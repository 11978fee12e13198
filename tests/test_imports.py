"""Imports run one way, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import espnet_part

ROOT = Path(espnet_part.__file__).parent

# From the top to the bottom: a part imports only parts of lines below its own.
LAYERS = (
    {"bin", "espnet3", "_espnetez"},
    {"evidence"},
    {"recipe"},
    {"analysis", "baseline", "compare", "corpora", "launch", "plan", "serve", "stage_file"},
    {"decode", "report", "task"},
    {"pack"},
    {"score", "train", "vllm"},
    {"data"},
    {"model", "schedule"},
    {
        *("archive", "command", "config", "convert", "download"),
        *("journal", "kaldi", "lock", "tasks", "weights"),
    },
    {"files", "inputs", "parsing", "phases", "plugins", "progress", "scripts", "sorting"},
    {"document", "errors", "sample_rate", "versions"},
    {"display"},
)

KINDS = ("model.encoders", "model.adapters")

# Modules that import a library, here or in a function of theirs; a folder stands for all in it.
ONLY_IN = {
    "espnet2": {
        "model.encoders.espnet.module",
        "model.encoders.whisper.module",
        "model.speech_llm",
        "task",
        "train.arguments",
        "train.learning_rate",
        "train.options",
        "train.process",
        "train.reporting",
        "train.step",
    },
    "espnet3": {"espnet3"},
    "torch.distributed": {"task", "train.parallel", "train.sharding"},
    "vllm": {"decode.engines.vllm.program", "vllm"},
    "transformers": {
        "baseline.whisper",
        "convert",
        "corpora.mini",
        "decode.engines.transformers",
        "model",
        "pack.export",
        "vllm",
    },
}

# Modules that are imported, with all that they import in turn, without these libraries.
HEAVY = ("espnet2", "torch", "transformers")
LIGHT = [
    "config",
    "data.datadir",
    "kaldi",
    "model.config",
    "model.kinds",
    "plan.plan",
    "report.systems",
    "score.scoring",
    "score.significance",
    "tasks",
]


def module_name(path: Path) -> str:
    """``model.llm`` of ``espnet_part/model/llm.py``; a package has its folder's name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: no functions, nothing for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_import(child)


@cache
def imports(module: str, anywhere: bool = True) -> frozenset[str]:
    """What ``module`` imports (``anywhere``: in its functions too), and dotted uses of torch."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if anywhere else at_import(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif anywhere and isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name.startswith("torch.distributed."):
                found.add(name)
    return frozenset(found)


def inside(name: str, places: Iterable[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def ours(names: Iterable[str]) -> Iterator[str]:
    """The modules of the package among imported names, and the packages that hold them."""
    for name in names:
        parts = name.split(".")[1:] if name.startswith("espnet_part.") else []
        yield from (
            ".".join(parts[:n]) for n in range(1, len(parts) + 1) if ".".join(parts[:n]) in MODULES
        )


def path_to(module: str, library: str) -> list[str] | None:
    """The chain of imports by which importing ``module`` imports ``library``."""
    paths = {name: [name] for name in [*ours([f"espnet_part.{module}"])]}
    waiting = list(paths)
    for name in waiting:
        names = imports(name, anywhere=False)
        if any(inside(imported, [library]) for imported in names):
            return [*paths[name], library]
        for below in ours(names):
            if below not in paths:
                paths[below] = [*paths[name], below]
                waiting.append(below)
    return None


def test_every_part_has_a_layer() -> None:
    parts = {module.split(".")[0] for module in MODULES if module}
    assert len(parts) > 20
    assert parts - set().union(*LAYERS) == set()


def test_imports_run_one_way() -> None:
    floor = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if module
        for name in ours(imports(module))
        if name.split(".")[0] != module.split(".")[0]
        and floor[name.split(".")[0]] <= floor[module.split(".")[0]]
    ]
    assert wrong == []


def test_modules_do_not_import_one_another_in_a_circle() -> None:
    """In functions neither; the folder of a kind counts as one module."""

    def whole(module: str) -> str:
        return ".".join(module.split(".")[: 3 if inside(module, KINDS) else None])

    below: dict[str, set[str]] = {}
    for module in MODULES:
        # a package may import its own modules, and they import one another by its name
        names = {whole(name) for name in ours(imports(module)) if not inside(module, [name])}
        below.setdefault(whole(module), set()).update(names - {whole(module)})
    while free := {module for module, names in below.items() if not names & below.keys()}:
        below = {module: names for module, names in below.items() if module not in free}
    assert below == {}


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_where_it_is_said(library: str) -> None:
    found = {m for m in MODULES if any(inside(name, [library]) for name in imports(m))}
    assert {module for module in found if not inside(module, ONLY_IN[library])} == set()
    unused = {place for place in ONLY_IN[library] if not any(inside(m, [place]) for m in found)}
    assert unused == set(), "no longer true of these; take them off the list"


def test_scores_need_no_torch() -> None:
    """Only COMET's program does, in a process and an environment of its own."""
    using = {
        module
        for module in MODULES
        if inside(module, ["score", "report", "compare"])
        and any(inside(name, HEAVY) for name in imports(module))
    }
    assert using == {"score.comet_program"}


def test_kinds_of_encoders_and_adapters_are_known_without_their_libraries() -> None:
    """Configuration, shapes, operations and packing of a kind load no model."""
    light = [
        module
        for module in MODULES
        if inside(module, KINDS) and module.split(".")[-1] not in ("module", "features")
    ]
    assert len([module for module in light if module.endswith(".conf")]) >= 5
    paths = [path_to(module, library) for module in light for library in HEAVY]
    assert [" -> ".join(path) for path in paths if path] == []


@pytest.mark.parametrize("module", LIGHT)
def test_a_quick_command_s_modules_are_light(module: str) -> None:
    paths = [path_to(module, library) for library in HEAVY]
    assert [" -> ".join(path) for path in paths if path] == []


def test_commands_are_light_until_they_run() -> None:
    """``--help`` of any command imports no torch."""
    commands = [module for module in MODULES if module.startswith("bin.part_")]
    assert len(commands) > 10
    paths = [path_to(module, library) for module in commands for library in HEAVY]
    assert [" -> ".join(path) for path in paths if path] == []
