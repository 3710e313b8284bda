#!/usr/bin/env python3
"""Put standard input into documents, between the two marks that they have for it.

    into_document.py NAME DOCUMENT...

The marks are `<!-- NAME: ... -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def main() -> None:
    """Replace what is between the marks; change nothing where the input is empty."""
    name, *documents = sys.argv[1:]
    text = sys.stdin.read().strip()
    if not text:
        raise SystemExit(f"nothing to put into {' and '.join(documents)}")
    marks = re.compile(
        rf"^(<!-- {re.escape(name)}: [^\n]*-->\n).*?^(<!-- /{re.escape(name)} -->)$",
        re.DOTALL | re.MULTILINE,
    )
    for document in map(Path, documents):
        changed, count = marks.subn(
            lambda found: f"{found[1]}{text}\n{found[2]}", document.read_text(encoding="utf-8")
        )
        if count != 1:
            raise SystemExit(f"{document} has no place for it: <!-- {name}: ... -->")
        document.write_text(changed, encoding="utf-8")


if __name__ == "__main__":
    main()
