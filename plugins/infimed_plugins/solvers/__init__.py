"""How a model is asked: once, with reasoning, by a vote over samples, or as a multidisciplinary panel."""

from __future__ import annotations

from infimed_core import Solver, hookimpl


@hookimpl
def infimed_solvers() -> dict[str, type[Solver]]:
    """The solvers of this plugin, by name."""
    from infimed_plugins.solvers.chain_of_thought import ChainOfThought
    from infimed_plugins.solvers.direct import Direct
    from infimed_plugins.solvers.panel import Panel
    from infimed_plugins.solvers.vote import Vote

    return {"direct": Direct, "chain-of-thought": ChainOfThought, "vote": Vote, "mdt-panel": Panel}
