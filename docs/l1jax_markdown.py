"""A Markdown extension for the site.

It renders equations and examples in docstrings, and links into the repository.

Equations are written as on a forge, `$x$` in a line and `$$` around a paragraph. MathML needs no
script and no font from another site. Links such as `../experiments/digits.py` work on a forge,
where the repository is beside the page; the site has only the pages, so it shows their text.
Examples that start with `>>>` become code; plain Markdown would read them as quotations.
"""

import re
from xml.etree import ElementTree

from latex2mathml.converter import convert_to_element
from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor
from markdown.treeprocessors import Treeprocessor

IN_LINE = r"(?<![\\$\w])\$(?![\s$])([^$\n]*[^\s$\\])\$(?![\w$])"
IN_REPOSITORY = re.compile(
    r"^(\.\./)+(benchmarks|deploy|examples|experiments|l1jax|tests|README\.md|LICENSE)\b"
)


class InlineEquation(InlineProcessor):
    """`$x$` within a line."""

    def handleMatch(  # type: ignore[override]
        self, match: re.Match[str], data: str
    ) -> tuple[ElementTree.Element, int, int]:
        """Return the MathML element, and where the equation starts and ends."""
        return convert_to_element(match[1]), match.start(0), match.end(0)


class EquationBlock(BlockProcessor):
    """A paragraph between `$$` and `$$`."""

    def test(self, parent: ElementTree.Element, block: str) -> bool:
        """Return whether the block is an equation."""
        text = block.strip()
        return len(text) > 4 and text.startswith("$$") and text.endswith("$$")

    def run(self, parent: ElementTree.Element, blocks: list[str]) -> None:
        """Append the MathML element to the page."""
        parent.append(convert_to_element(blocks.pop(0).strip()[2:-2].strip(), display="block"))


class DoctestBlocks(Preprocessor):
    """Examples of docstrings: paragraphs that start with `>>>`."""

    def run(self, lines: list[str]) -> list[str]:
        """Put a fence around each example outside of fences."""
        fenced = False
        example = False
        result = []
        for line in [*lines, ""]:
            if line.startswith("```"):
                fenced = not fenced
            if line.startswith(">>> ") and not fenced and not example:
                result.append("```pycon")
                example = True
            elif example and not line.strip():
                result.append("```")
                example = False
            result.append(line)
        return result


class RepositoryLinks(Treeprocessor):
    """Links to files of the repository that are no pages of the site."""

    def run(self, root: ElementTree.Element) -> None:
        """Turn each such link into a span."""
        for link in root.iter("a"):
            if IN_REPOSITORY.match(link.get("href", "")):
                link.tag = "span"
                link.attrib.clear()


class L1jaxExtension(Extension):
    """Equations and links of this documentation."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Register the processors."""
        md.preprocessors.register(DoctestBlocks(md), "doctest_blocks", 40)
        md.parser.blockprocessors.register(EquationBlock(md.parser), "equation", 95)
        md.inlinePatterns.register(InlineEquation(IN_LINE, md), "inline_equation", 185)
        md.treeprocessors.register(RepositoryLinks(md), "repository_links", 15)


def makeExtension(**options: object) -> L1jaxExtension:
    """Return the extension; Markdown calls this by its name."""
    return L1jaxExtension(**options)
