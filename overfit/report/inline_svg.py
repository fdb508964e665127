"""Figures as elements of an HTML page: text as text, in the page's own font and colors."""

import io
import re
from typing import Any

import markupsafe
import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

# Text as outlines would be several times larger, and neither found nor read aloud.
_STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "overfit"}


def inline_svg(figure: Figure, name: str, description: str) -> markupsafe.Markup:
    """An <svg> element without a ground.

    name: prefix of its identifiers, of letters, digits and hyphens; no two elements of one page may
      share it.
    description: for those who do not see it.
    """
    for text in figure.findobj(Text):
        text.set_path_effects([])  # they would turn it into outlines; the page's style has a halo
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") + len("<svg") :]  # without the head of an XML file
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    opening = markupsafe.Markup('<svg role="img" aria-label="{}"').format(description)
    return opening + markupsafe.Markup(svg)
