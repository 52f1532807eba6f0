"""The two lines that a new projection costs in `projections/registry.py`: put into its text. Knows Python's syntax; must not run the text."""

import ast

from touchline.errors import Refused
from touchline.scaffold_text import FIRST_VERSION, class_name, in_order

__all__ = ["REGISTRY", "groups_of", "names_of", "with_projection"]

REGISTRY = "projections/registry.py"

_LIST = "VERSIONS"


def with_projection(text: str, name: str, group: str) -> str:
    """Return the registry's text with the projection's import and its group, each in its place.

    Raises `Refused` if the text is not as this product writes it; it then says which lines to add by hand.
    """
    lines = text.splitlines(keepends=True)
    by_hand = Refused(
        f"{REGISTRY} has a form in which no line can be added.",
        reason="registry_form",
        next_step=f"restore its list {_LIST}, one group a line, or write the projection by hand: docs/howto/new-projection.md.",
    )
    try:
        tree = ast.parse(text)
    except SyntaxError:
        raise by_hand from None
    last = _last_group(tree, lines)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("projections.")]
    if last is None or not imports:
        raise by_hand
    wanted = in_order(f"projections.{name}")
    before = next((node.lineno - 1 for node in imports if in_order(node.module or "") > wanted), imports[-1].end_lineno or imports[-1].lineno)
    kind = class_name(name)
    lines.insert(last, f'    Group("{group}", {FIRST_VERSION}, ({kind}(),)),\n')
    lines.insert(before, f"from projections.{name} import {kind}\n")
    return "".join(lines)


def groups_of(text: str) -> set[str]:
    """Return the names of the groups that a registry's text lists."""
    return {
        str(node.args[0].value)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Group"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


def names_of(text: str) -> set[str]:
    """Return every name that a module's text imports, defines or uses."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Name(id=name) | ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                found.add(name)
            case ast.ImportFrom(names=aliases) | ast.Import(names=aliases):
                found.update(alias.asname or alias.name for alias in aliases)
    return found


def _last_group(tree: ast.Module, lines: list[str]) -> int | None:
    """Return after how many lines the last group of the list ends, if it stands on lines of its own and a comma follows it."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign | ast.Assign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and target.id == _LIST and isinstance(node.value, ast.Call) and node.value.args:
                last = node.value.args[-1]
                end, column = last.end_lineno or last.lineno, last.end_col_offset or 0
                rest = lines[end - 1].encode()[column:].decode().strip()
                return end if rest.startswith(",") and end < (node.end_lineno or 0) else None
    return None
