"""Hooks of the site: pages from outside ``docs/``, the reference, links between them, ``llms.txt`` and Markdown."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

import reference  # noqa: E402

LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^)#\s]+)(#[^)]*)?(\))")
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.S | re.M)


def on_config(config: Any) -> Any:
    """Name the generated reference pages, and guides that the navigation leaves out, before it is read."""
    _made.update(reference.pages())
    for section in config.nav:
        if "Reference" in section:
            section["Reference"] = ["reference/index.md"] + [
                {text.splitlines()[0].removeprefix("# "): f"reference/{name}"}
                for name, text in _made.items()
                if name != "index.md"
            ]
    left_out = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} - set(named_in(config.nav))
    for section in config.nav:
        if "How-to guides" in section:
            section["How-to guides"] += sorted(left_out)
    return config


_made: dict[str, str] = {}


def on_files(files: Files, config: Any) -> Files:
    """Add the reference, and every file of the repository that a page links to."""
    for name, text in _made.items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    open_pages = [path for path in named_in(config.nav) if path.startswith("repository/")]
    open_pages += [target for file in files.documentation_pages() for target in _outside(file)]
    seen: set[str] = set()
    while open_pages:
        path = open_pages.pop()
        if path in seen or not (ROOT / path.removeprefix("repository/")).is_file():
            continue
        seen.add(path)
        file = File.generated(config, path, abs_src_path=str(ROOT / path.removeprefix("repository/")))
        if path.endswith(".md") and path not in named_in(config.nav):
            file.inclusion = file.inclusion.__class__.NOT_IN_NAV
        files.append(file)
        if path.endswith(".md"):
            open_pages += _outside(file)
    return files


def named_in(nav: Any) -> list[str]:
    """Every path of the navigation."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [path for one in inner for path in named_in(one)]


def _place(src: str) -> str:
    """Where a file of the site lies in the repository."""
    return src.removeprefix("repository/") if src.startswith("repository/") else f"docs/{src}"


def _site_path(place: str) -> str:
    """Where a file of the repository lies in the site."""
    return place.removeprefix("docs/") if place.startswith("docs/") else f"repository/{place}"


def _outside(file: File) -> list[str]:
    found = LINK.findall(CODE.sub("", file.content_string or ""))
    targets = [_site_path(_resolved(file.src_uri, link)) for _, link, _, _ in found if "://" not in link]
    return [target for target in targets if target.startswith("repository/")]


def _resolved(src: str, link: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(_place(src)), link))


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Lead every relative link to where its file lies in the site."""
    src = page.file.src_uri

    def lead(found: re.Match[str]) -> str:
        before, link, anchor, after = found.groups()
        if "://" in link or link.startswith("mailto:"):
            return found[0]
        target = _site_path(_resolved(src, link))
        return f"{before}{os.path.relpath(target, os.path.dirname(src) or '.')}{anchor or ''}{after}"

    parts = CODE.split(markdown)
    return "".join(part if number % 2 else LINK.sub(lead, part) for number, part in enumerate(parts))


_pages: list[tuple[str, str, str, str]] = []


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Let a keyboard reach what scrolls sideways; remember the page for ``llms.txt``."""
    paragraphs = (part.strip() for part in page.markdown.split("\n\n"))
    first = next(
        (part for part in paragraphs if part and not part.startswith(("#", "|", "```", "- ", "!", "<", ">"))), ""
    )
    said = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(first.split()))
    _pages.append((page.file.src_uri, page.title, said.split(". ")[0].rstrip("."), page.markdown))
    html = re.sub(
        r"<table>(?!(?:(?!</table>).)*<a )", '<table tabindex="0">', html, flags=re.S
    )  # a link is reached anyway
    return html.replace("<pre><span></span>", '<pre tabindex="0"><span></span>')


def on_post_page(output: str, **_: Any) -> str:
    """Give each list of pages in the navigation a name of its own."""
    return re.sub(
        r'(<nav class="md-nav"[^>]*) aria-labelledby="__nav_(\d+)_label"', r'\1 aria-label="Section \2"', output
    )


def on_post_build(config: Any) -> None:
    """Write ``llms.txt``, ``llms-full.txt`` and the Markdown of every page."""
    site = Path(config.site_dir)
    pages = {src: (title, said, text) for src, title, said, text in _pages}
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    for section in config.nav:
        name, inner = next(iter(section.items()))
        if name != "Home":
            lines += ["", f"## {name}", ""]
            lines += [f"- [{pages[src][0]}]({src}): {pages[src][1]}" for src in named_in(inner)]
    (site / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for src, (_, _, text) in pages.items():
        (site / src).parent.mkdir(parents=True, exist_ok=True)
        (site / src).write_text(text, encoding="utf-8")
    (site / "llms-full.txt").write_text("\n\n".join(text for _, _, text in pages.values()), encoding="utf-8")
