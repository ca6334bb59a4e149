"""The values kernels and their callers agree on: flags of edges, and what stands for "not reached".  Floor 0.

A module of its own: whoever needs a flag need not compile a kernel.
"""

RETAINS = 1
"""Edge flag: keeps its target alive, as far as dominators are concerned."""
STRONG = 2
"""Edge flag: passes protection and ownership on, and counts for distances.  Every RETAINS edge is STRONG."""
DETOUR = 4
"""Edge flag: never followed when distances are measured."""

UNSEEN = -1
"""Not reached: in numberings and owners."""
SHARED = -2
"""Reached from more than one owner."""
NO_DISTANCE = -5
"""Not reached: in distances (the value DevTools uses)."""
