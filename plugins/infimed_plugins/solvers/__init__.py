"""How a model is asked: once, with reasoning, by a vote over samples, or as a multidisciplinary panel."""

from __future__ import annotations

from infimed_core import hookimpl


@hookimpl
def infimed_solvers() -> dict[str, str]:
    """The solvers of this plugin, by name."""
    return {
        "direct": "infimed_plugins.solvers.direct:Direct",
        "chain-of-thought": "infimed_plugins.solvers.chain_of_thought:ChainOfThought",
        "few-shot": "infimed_plugins.solvers.few_shot:FewShot",
        "likelihood": "infimed_plugins.solvers.likelihood:Likelihood",
        "vote": "infimed_plugins.solvers.vote:Vote",
        "mdt-panel": "infimed_plugins.solvers.panel:Panel",
        "mdagents": "infimed_plugins.solvers.teams.mdagents:MDAgents",
        "medagents": "infimed_plugins.solvers.teams.medagents:MedAgents",
        "reconcile": "infimed_plugins.solvers.teams.reconcile:ReConcile",
    }


@hookimpl
def infimed_commands() -> dict[str, str]:
    """Offer ``infimed compare-solvers``."""
    return {"compare-solvers": "infimed_plugins.solvers.command:compare_solvers_command"}


@hookimpl
def infimed_defaults() -> dict[str, str]:
    """How a benchmark is asked that wants no other solver."""
    return {"solver": "direct"}
