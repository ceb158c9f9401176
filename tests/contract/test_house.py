"""The house: who may import whom, what an import costs, and that what is promised by name is there."""

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import allaprima

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "allaprima": ROOT / "runtime" / "allaprima",
    "allaprima_train": ROOT / "train" / "allaprima_train",
    "allaprima_export": ROOT / "export" / "allaprima_export",
}
MAY_USE = {
    "allaprima": {"allaprima"},
    "allaprima_train": {"allaprima", "allaprima_train"},
    "allaprima_export": {"allaprima", "allaprima_train", "allaprima_export"},
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
VENDORS = {
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt_rtx",
    "cuda",
    "cv2",
    "pyvirtualcam",
}
FILES = [(name, path) for name, folder in PACKAGES.items() for path in sorted(folder.rglob("*.py"))]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def modules() -> list[str]:
    return sorted(
        module.name
        for module in pkgutil.walk_packages(allaprima.__path__, "allaprima.")
        if not module.name.endswith("__main__")
    )


@pytest.mark.parametrize(("package", "path"), FILES, ids=lambda value: getattr(value, "stem", value))
def test_arrows_point_from_export_to_train_to_runtime(package: str, path: Path) -> None:
    used = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
    assert (used & set(PACKAGES)) <= MAY_USE[package]
    if package == "allaprima":
        assert not used & {"torch", "onnx"}


def test_every_module_of_the_runtime_imports_without_torch_and_vendors() -> None:
    """In a process where importing any of them fails, as on a machine that does not have them."""
    script = f"""
import importlib, sys
for name in {sorted(VENDORS)!r}:
    sys.modules[name] = None
for name in {modules()!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_allaprima_loads_nothing_heavy() -> None:
    script = (
        "import sys, json, allaprima; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = VENDORS | {"numpy", "PIL", "av", "pydantic", "rich"}
    assert not heavy & set(json.loads(done.stdout))


@pytest.mark.parametrize("name", ["allaprima", *modules()])
def test_what_all_names_is_there(name: str) -> None:
    module = importlib.import_module(name)
    for word in getattr(module, "__all__", []):
        assert hasattr(module, word), f"{name}.{word}"


def test_every_error_code_is_in_the_list() -> None:
    """docs/errors.md names every code that is raised, and none that is not."""
    code = re.compile(r"\"(E_[A-Z0-9_]+)\"")
    raised = {found for _, path in FILES for found in code.findall(path.read_text())}
    listed = set(re.findall(r"`(E_[A-Z0-9_]+)`", (ROOT / "docs" / "errors.md").read_text()))
    assert raised - listed == set()
    assert listed - raised == set()


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    text = page.read_text()
    assert not re.findall(r"@[A-Z]{3,}@", text), "a placeholder was left"
    for target in re.findall(r"\]\(([^)#]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readmes_python_is_the_public_face() -> None:
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert blocks
    for block in blocks:
        for word in re.findall(r"allaprima\.([A-Za-z_]+)", block):
            assert word in allaprima.__all__
