"""What the site's pages need beyond Markdown: they are also read as files, beside the code they speak of."""

from __future__ import annotations

import re

_MARK = re.compile(r"^(```\w+) [a-z-]+$", re.MULTILINE)
"""For the tests alone: how such a block is run, or that it is not."""
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:src/|tests/|examples/|benchmarks/|\.ci/|[A-Z][A-Z_]+\b)[^)]*\)")
"""A link to a file of the repository that is no page of the site."""


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by MkDocs for each page before it is rendered."""
    return _OUTSIDE.sub(r"`\1`", _MARK.sub(r"\1", markdown))
