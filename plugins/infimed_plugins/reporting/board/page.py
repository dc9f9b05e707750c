"""The leaderboard as one page that asks the network for nothing."""

from __future__ import annotations

from infimed_plugins.reporting.board.board import Leaderboard
from infimed_plugins.reporting.page.assets import asset, digest, environment

SCRIPT = """\
for (const choice of document.querySelectorAll("select[data-board]"))
  choice.addEventListener("change", () => {
    for (const table of document.querySelectorAll(`[data-order^="${choice.dataset.board}-"]`))
      table.hidden = table.dataset.order !== `${choice.dataset.board}-${choice.value}`;
  });
"""


def page(board: Leaderboard) -> str:
    """The page: everything escaped, and its own script alone may run."""
    from markupsafe import Markup

    made = environment()
    style = asset(made, "report.css")
    text: str = made.get_template("leaderboard.html.j2").render(
        style=Markup(style),
        script=Markup(SCRIPT),
        policy=(
            "default-src 'none'; base-uri 'none'; form-action 'none'; "
            f"style-src '{digest(style)}'; script-src '{digest(SCRIPT)}'"
        ),
        board=board,
    )
    return text
