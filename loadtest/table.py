"""A printed table as Markdown, so that it can be pasted into the documentation. Pure."""

from collections.abc import Sequence


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns padded, numbers (all columns but the first) to the right."""
    lines = [list(header), *[list(row) for row in body]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    rule = ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]
    lines.insert(1, rule)
    return "\n".join("| " + " | ".join(_padded(line, widths)) + " |" for line in lines)


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        line[0].ljust(widths[0]),
        *[text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)],
    ]
