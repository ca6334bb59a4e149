"""The one way this package compiles a kernel: eager, typed, cached on disk, free of the GIL.  Floor 0.

Not a kernel itself.  A signature per kernel means that importing a kernel module compiles (or loads from the
cache) everything it has: what may take seconds happens at import, never in the middle of an analysis.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import numba
from numba.core.options import DefaultOptions

from pytest_memory.errors import ConfigError
from pytest_memory.heap import marks

_Function = TypeVar("_Function", bound=Callable[..., Any])

compiled: list[str] = []
"""The kernels this process had to compile and could put into the cache: none on a warm machine."""

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": False}
if hasattr(DefaultOptions, "_nrt"):
    # No kernel allocates: without the code that counts references of arrays they compile in four fifths of the time.
    _OPTIONS["_nrt"] = False
if hasattr(DefaultOptions, "no_cfunc_wrapper"):
    _OPTIONS["no_cfunc_wrapper"] = True  # no C code calls them

_CACHE_TROUBLE = (
    OSError,  # a full disk, a file of another user
    RuntimeError,  # no directory at all
    EOFError,  # the rest: a damaged file
    pickle.UnpicklingError,
    AttributeError,
    ImportError,
    IndexError,
    ValueError,
)
"""What numba lets through of a cache that cannot be read or written, with what unpickling is documented to raise."""

READ_ONLY_BYTES = "Array(uint8, 1, 'C', True)"
"""The bytes of a mapped file in a kernel's signature: nothing may write to them."""


def kernel(signature: str) -> Callable[[_Function], _Function]:
    """Compile a function for one signature of machine integers and C-contiguous arrays.

    numba chooses the cache directory: NUMBA_CACHE_DIR, else beside the module, else the user's cache.  Where
    none of them can be written (a read-only container without a home), or what is there is damaged, kernels are
    compiled in memory.

    numba takes code from the cache when the kernel's module and bytecode are the same.  What else is compiled into it
    must be told apart by the name of the file, which numba makes from the function's qualified name; so kernels may
    import constants from heap.marks and nothing from elsewhere.
    """

    def compile_kernel(function: _Function) -> _Function:
        if getattr(numba.config, "DISABLE_JIT", False):
            raise ConfigError(
                "numba compiles nothing here (NUMBA_DISABLE_JIT is set); heap snapshots are analysed by compiled code",
                hint="unset NUMBA_DISABLE_JIT for this run",
            )
        function.__qualname__ += f"_{_shared_digest()}"
        with _in_haste():
            try:
                dispatcher = numba.jit(signature, nopython=True, cache=True, **_OPTIONS)(function)
                if not dispatcher.stats.cache_hits:
                    compiled.append(function.__name__)
            except _CACHE_TROUBLE as exc:
                if isinstance(exc, RuntimeError) and "cannot cache" not in str(exc):
                    raise
                # Whatever is wrong with the kernel itself, this raises again.
                dispatcher = numba.jit(signature, nopython=True, cache=False, **_OPTIONS)(function)
        return cast("_Function", dispatcher)

    return compile_kernel


@contextlib.contextmanager
def _in_haste() -> Iterator[None]:
    """Compile at LLVM's second level, and without Python looking for garbage meanwhile.

    The kernels wait for memory: with the third level a snapshot of 171 MB is analysed half a per cent sooner (with four
    per cent less CPU time), and they take a seventh longer to compile.  A lower level that was chosen (NUMBA_OPT)
    stands.
    """
    settings: Any = numba.config
    level, collects = settings.OPT, gc.isenabled()
    gc.disable()
    settings.OPT = min(level, type(level)(2))
    try:
        yield
    finally:
        settings.OPT = level
        if collects:
            gc.enable()


def _shared_digest() -> str:
    """Of what is compiled into kernels though it stands in no module of theirs."""
    values = {name: value for name, value in vars(marks).items() if name.isupper()}
    return hashlib.sha256(repr((sorted(values.items()), sorted(_OPTIONS.items()))).encode()).hexdigest()[:8]


def inlined(function: _Function) -> _Function:
    """A piece of kernels, compiled into each of its callers; never called from Python."""
    return cast("_Function", numba.jit(nopython=True, **_OPTIONS)(function))
