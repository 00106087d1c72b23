"""Small pieces of HTML. Every text that is given to them is escaped."""

import base64
import html
from collections.abc import Sequence


def escape(text: object) -> str:
    """Return the text with every character that means something in HTML replaced."""
    return html.escape(str(text))


def section(identifier: str, heading: str, *parts: str) -> str:
    """Wrap HTML in a section with a heading.

    Args:
        identifier: the section's id, a plain word.
        heading: text of the heading.
        parts: HTML of the content. Empty ones are left out.

    Returns:
        HTML; empty if all parts are.
    """
    content = "\n".join(part for part in parts if part)
    if not content:
        return ""
    return (
        f'<section aria-labelledby="{identifier}">\n<h2 id="{identifier}">{escape(heading)}</h2>\n'
        f"{content}\n</section>"
    )


def paragraph(text: str, style: str = "") -> str:
    """Wrap a text in a paragraph, of the style sheet's class `style` if one is given."""
    attribute = f' class="{style}"' if style else ""
    return f"<p{attribute}>{escape(text)}</p>"


def bullets(items: Sequence[str], style: str = "") -> str:
    """Make a list of texts; empty if there are none."""
    if not items:
        return ""
    attribute = f' class="{style}"' if style else ""
    return f"<ul{attribute}>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def table(
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    highlighted: frozenset[int] = frozenset(),
) -> str:
    """Make a table whose first column names the rows; numbers stand at the right.

    Args:
        caption: what the table shows.
        header: headings of the columns.
        rows: texts of the cells.
        highlighted: indices of the rows to stress.

    Returns:
        HTML; empty if there are no rows.
    """
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = []
    for i, (name, *cells) in enumerate(rows):
        attribute = ' class="stressed"' if i in highlighted else ""
        body.append(
            f'<tr{attribute}><th scope="row">{escape(name)}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            + "</tr>"
        )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def picture(png: bytes, alternative: str, caption: str, below: str = "") -> str:
    """Embed a PNG.

    Args:
        png: the file's content.
        alternative: what the picture shows, for those who do not see it.
        caption: text below it.
        below: HTML below the caption.
    """
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alternative)}">'
        f"<figcaption>{escape(caption)}</figcaption>{below}</figure>"
    )


def player(wav: bytes, label: str) -> str:
    """Embed a WAV with the browser's controls; `label` says what is played."""
    data = base64.b64encode(wav).decode("ascii")
    return (
        f'<audio controls preload="none" aria-label="{escape(label)}" '
        f'src="data:audio/wav;base64,{data}"></audio>'
    )


def code(text: str) -> str:
    """Show commands or values as they are."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def folded(summary: str, *parts: str) -> str:
    """Hide HTML below a line that opens it; empty if there is nothing to hide.

    Args:
        summary: text of the line.
        parts: HTML.
    """
    content = "".join(parts)
    if not content:
        return ""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
