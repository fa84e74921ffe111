"""The HTML templates of the report's pages: where they are, and the one style sheet."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent


def environment() -> Environment:
    """Where the templates are; all text is escaped."""
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def page_style() -> Markup:
    return Markup((HERE / "page.css").read_text(encoding="utf-8"))
