"""Which flags the tests run, read from their source: the words of every call of `run_command`, command by command.

Reads, does not run: a name stands for what is assigned to it in its function or module, a parameter for what the
function is called with, a dict of rows for the row of the command.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

_Function = ast.FunctionDef


def words_run(files: Iterable[Path]) -> dict[str, set[str]]:
    """Command → every word that some test gives it."""
    found: dict[str, set[str]] = {}
    for file in files:
        module = ast.parse(file.read_text())
        for function in module.body:
            if isinstance(function, _Function):
                for command, words in _Reader(module, function).calls():
                    found.setdefault(command, set()).update(words)
    return found


class _Reader:
    """One function of a module and what its names stand for."""

    def __init__(self, module: ast.Module, function: _Function) -> None:
        self._module = module
        self._function = function

    def calls(self) -> Iterator[tuple[str, set[str]]]:
        for call in _calls_of("run_command", self._function):
            for command in self._commands(call.args[0]):
                yield command, set().union(*(self._words(one, command) for one in call.args[1:]))

    def _commands(self, node: ast.expr) -> set[str]:
        if isinstance(node, ast.Name) and node.id in _parameters(self._function):
            given = set().union(*(_constants(one) for one in self._function.decorator_list))
            return given - _parameters(self._function)
        return self._words(node, "")

    def _words(self, node: ast.expr, command: str) -> set[str]:
        if isinstance(node, ast.Constant):
            return {node.value} if isinstance(node.value, str) else set()
        if isinstance(node, ast.Name):
            return set().union(*(self._words(one, command) for one in self._values(node.id)))
        if isinstance(node, ast.Subscript):
            return self._row(node, command)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._returned(node.func.id, command)
        return set().union(*(self._words(one, command) for one in _parts(node)))

    def _row(self, node: ast.Subscript, command: str) -> set[str]:
        """Of ``{"load": ..., "stress": ...}[command]`` the row of this command; of other keys all rows."""
        rows = [node.value, *(self._values(node.value.id) if isinstance(node.value, ast.Name) else ())]
        table = next((one for one in rows if isinstance(one, ast.Dict)), None)
        if table is None:
            return set()
        wanted = command if isinstance(node.slice, ast.Name) else None
        if isinstance(node.slice, ast.Constant):
            wanted = str(node.slice.value)
        keys = [key.value if isinstance(key, ast.Constant) else None for key in table.keys]
        chosen = [value for key, value in zip(keys, table.values) if key == wanted] if wanted in keys else table.values
        return set().union(*(self._words(one, command) for one in chosen))

    def _values(self, name: str) -> list[ast.expr]:
        """What is assigned to a name, or given for a parameter of it."""
        own = _assigned(name, ast.walk(self._function)) or _assigned(name, self._module.body)
        given = [
            argument
            for inner in ast.walk(self._function)
            if isinstance(inner, _Function) and name in _parameters(inner)
            for call in _calls_of(inner.name, self._function)
            for argument in call.args
        ]
        return [*own, *given]

    def _returned(self, name: str, command: str) -> set[str]:
        """What a function of this module returns."""
        return set().union(
            *(
                _Reader(self._module, function)._words(node.value, command)
                for function in self._module.body
                if isinstance(function, _Function) and function.name == name
                for node in ast.walk(function)
                if isinstance(node, ast.Return) and node.value is not None
            )
        )


def _parts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Starred):
        return [node.value]
    if isinstance(node, (ast.Tuple, ast.List)):
        return node.elts
    return [node.body, node.orelse] if isinstance(node, ast.IfExp) else []


def _assigned(name: str, nodes: Iterable[ast.AST]) -> list[ast.expr]:
    return [
        node.value
        for node in nodes
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    ]


def _calls_of(name: str, function: _Function) -> list[ast.Call]:
    calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == name]


def _parameters(function: _Function) -> set[str]:
    arguments = function.args
    return {one.arg for one in (*arguments.args, arguments.vararg) if one is not None}


def _constants(node: ast.AST) -> set[str]:
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}
