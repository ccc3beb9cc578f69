"""Turns a report as a terminal gets it into an SVG: python3 docs/picture.py DEMO_DIRECTORY <screen >picture.

Only what the report uses is understood: bold, faint, and three colours. It must never guess: any other escape is an error.
"""

import re
import socket
import sys
from html import escape

COLUMN, LINE, SIZE, MARGIN = 8.43, 18, 14, 20
PAPER, INK = "#0d1117", "#e6edf3"
STYLES = {
    "1": 'font-weight="bold"',
    "2": 'fill="#8b949e"',
    "31": 'fill="#ff7b72"',
    "32": 'fill="#56d364"',
    "33": 'fill="#e3b341"',
}


def anywhere(screen, directory):
    """The screen without what tells one machine and one run from another."""
    host = re.escape(socket.gethostname())
    for pattern, replacement in [
        (re.escape(directory), "/tmp/treewarden-demo"),
        (rf"\bon {host}(?=,)", "on node-1"),
        (rf"\bby {host} \(pid \d+\)", "by node-1 (pid 4711)"),
        (r"[A-Z][a-z]{2} \d{1,2} [A-Z][a-z]{2} \d{4}, \d\d:\d\d UTC", "Mon 15 Jun 2026, 03:17 UTC"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "2026-06-15 03:17 UTC"),
        (r"\d{8}T\d{6}Z", "20260615T031700Z"),
    ]:
        screen = re.sub(pattern, replacement, screen)
    return screen


def spans(line):
    """The line's pieces, each with its column and its styles."""
    column, styles = 0, []
    for text, code in re.findall(r"([^\x1b]+)|\x1b\[(\d+)m", line):
        if text:
            yield column, text, styles
            column += len(text)
        else:
            styles = [] if code == "0" else [*styles, code]


def draw(lines):
    columns = max(column + len(text) for line in lines for column, text, _ in spans(line))
    width, height = round(columns * COLUMN + 2 * MARGIN), len(lines) * LINE + 2 * MARGIN
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    yield f' font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{SIZE}" fill="{INK}">'
    yield "<title>The report of a night, as `treewarden demo` prints it</title>"
    yield f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>'
    for number, line in enumerate(lines):
        y = MARGIN + number * LINE + SIZE
        for column, text, styles in spans(line):
            if not text.strip():
                continue
            look = " ".join(STYLES[style] for style in styles)
            at = f'x="{MARGIN + column * COLUMN:.2f}" y="{y}" textLength="{len(text) * COLUMN:.2f}"'
            yield f'<text {at} xml:space="preserve" {look}>{escape(text)}</text>'
    yield "</svg>"


def main():
    screen = anywhere(sys.stdin.buffer.read().decode().replace("\r\n", "\n"), sys.argv[1])
    report, found, _ = screen.partition("\nThe volume is yours to look at")
    if not found:
        sys.exit("the demo's last words are not as they were: mend docs/picture.py")
    rest = re.sub(r"\x1b\[\d+m", "", report)
    if odd := re.search(r"[\x00-\x09\x0b-\x1f\x7f]", rest):
        sys.exit(f"an escape that docs/picture.py does not know: {rest[odd.start() :][:20]!r}")
    print("\n".join(draw(report.rstrip("\n").split("\n"))))


main()
