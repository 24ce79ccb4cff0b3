#!/usr/bin/env python3
"""Shows which code and which test stand for each normative sentence of PROTOCOL, and fails on a gap without a reason.

A comment cites a sentence by its section and a few of its words: `// PROTOCOL §2.5: never forward twice`, or
`// PROTOCOL 0.1.2 §2.5: ...` for version 1. `protocol.txt` lists the sentences, whom each binds, and the words by which
comments cite it. A citation that names a section or words unknown there fails too, so neither side can drift.

A section without words, as in "(`PROTOCOL §2.2`)", is a pointer for readers: its section must exist, it proves nothing.
"""

import argparse
import pathlib
import re
import sys
from dataclasses import dataclass, field

PARTIES = ("client", "server", "adapter")
NUMBER = r"§\d(?:\.\d)?(?:[–-]\d\.\d)?"
CITATION = re.compile(
    rf"(?P<protocol>PROTOCOL(?P<old> 0\.1\.2)? )?"
    rf"(?P<sections>{NUMBER}(?:(?:,| and) {NUMBER})*)"
    rf"`?(?::(?P<words>[^§]*?)(?=PROTOCOL|;\s*§|,?\s*(?:and )?§|$))?"
)


@dataclass
class Row:
    """One normative sentence."""

    section: str
    number: int
    binds: list
    quote: str
    cite: list = field(default_factory=list)
    gaps: dict = field(default_factory=dict)
    deviations: list = field(default_factory=list)
    places: dict = field(default_factory=dict)

    @property
    def name(self):
        return f"{self.section}/{self.number}"


@dataclass
class Table:
    """All of protocol.txt."""

    titles: dict
    rows: list


@dataclass
class Cited:
    """What one comment says about PROTOCOL."""

    sections: list
    words: object
    line: int


class Mistake(Exception):
    """The table itself is wrong."""


def read_table(path):
    table, section = Table({}, []), None
    for at, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if match := re.fullmatch(r"((?:0\.1\.2 )?§\d(?:\.\d)?) (.+)", line):
            section = match[1]
            if section in table.titles:
                raise Mistake(f"{path}:{at}: {section} occurs twice")
            table.titles[section] = match[2]
        elif match := re.fullmatch(r"  (\d+) ([a-z, ]+?): (.+)", line):
            binds = match[2].split(", ")
            row = Row(section, int(match[1]), binds, match[3])
            expected = 1 + sum(other.section == section for other in table.rows)
            if section is None or row.number != expected or not set(binds) <= set(PARTIES):
                raise Mistake(f"{path}:{at}: not a sentence in order that binds one of {', '.join(PARTIES)}")
            table.rows.append(row)
        elif match := re.fullmatch(r"    (cite|gap|deviates): (.+)", line):
            read_detail(table.rows[-1] if table.rows else None, match[1], match[2], f"{path}:{at}")
        else:
            raise Mistake(f"{path}:{at}: cannot be read: {line!r}")
    return table


def read_detail(row, kind, text, where):
    if row is None:
        raise Mistake(f"{where}: no sentence before it")
    if kind == "cite":
        row.cite += [plain(words) for words in text.split(" | ")]
    elif kind == "deviates":
        row.deviations.append(text)
    else:
        match = re.fullmatch(r"(\w+) (code|test), (.{10,})", text)
        if not match or match[1] not in row.binds:
            raise Mistake(f"{where}: a gap reads `gap: client test, the reason`")
        row.gaps[match[1], match[2]] = match[3]


def plain(text):
    """Case, quoting and line breaks do not matter."""
    return re.sub(r"\s+", " ", text.replace("`", "").replace("*", "")).strip().lower()


def comments(text):
    """Yields (line, mark, text) of every run of comment lines of one kind."""
    start, block, mark = 0, [], None
    for at, line in enumerate([*text.splitlines(), ""], 1):
        match = re.match(r"\s*(//!|///?|#)(?!\[)\s?(.*)", line)
        if match and match[1] == mark and not match[2].lstrip("`").startswith("PROTOCOL"):
            block.append(match[2])
            continue
        if block:
            yield start, mark, " ".join(block)
        start, block, mark = (at, [match[2]], match[1]) if match else (0, [], None)


def citations(comment, line, heading):
    """Yields what one comment cites; the heading of a file is prose and proves nothing."""
    comment = re.sub(r"RFC \d+ §[\d.]+", "", comment)
    if "PROTOCOL" not in comment:
        return
    old, begun = False, False
    for match in CITATION.finditer(comment):
        if match["protocol"]:
            old, begun = bool(match["old"]), True
        if not begun:
            continue
        sections = [("0.1.2 " if old else "") + one for one in re.findall(r"§\d(?:\.\d)?", match["sections"])]
        words = None if heading or not match["words"] else plain(match["words"]) or None
        yield Cited(sections, words, line)


def is_test(path, text, line):
    parts = path.parts
    if "tests" in parts or path.stem == "tests" or path.stem.endswith("_tests"):
        return True
    inline = text.find("#[cfg(test)]\nmod tests {")
    return 0 <= inline < sum(map(len, text.splitlines(keepends=True)[: line - 1]))


def party(path):
    name = path.as_posix()
    if name.startswith(("e2e/src/relay", "e2e/tests/relay_server")):
        return "server"
    if name.startswith(("e2e/src/model", "e2e/tests/demo_model")):
        return "adapter"
    return "client"


def sources(root):
    for pattern in ("src/**/*.rs", "e2e/**/*.rs", "envoy/*.yaml"):
        yield from sorted(root.glob(pattern))


def scan(root, table):
    """Files every citation under its sentences; returns the ones that fit none."""
    unknown = []
    for file in sources(root):
        path, text = file.relative_to(root), file.read_text(encoding="utf-8")
        for start, mark, comment in comments(text):
            for cited in citations(comment, start, mark == "//!"):
                where = f"{path.as_posix()}:{cited.line}"
                if missing := [section for section in cited.sections if section not in table.titles]:
                    unknown.append(f"{where}: no section {missing[0]}")
                elif cited.words is not None and not place(table, cited, path, text, where):
                    unknown.append(f"{where}: no sentence of {', '.join(cited.sections)} is cited as {cited.words!r}")
    return unknown


def place(table, cited, path, text, where):
    kind = "test" if is_test(path, text, cited.line) else "code"
    found = [row for row in table.rows if row.section in cited.sections and any(w in cited.words for w in row.cite)]
    for row in found:
        row.places.setdefault((party(path), kind), []).append(where)
    return bool(found)


def gaps(table):
    """Yields every missing place, and every reason for a gap that is none."""
    for row in table.rows:
        for binds in row.binds:
            for kind in ("code", "test"):
                there, excused = (binds, kind) in row.places, (binds, kind) in row.gaps
                if not there and not excused:
                    yield f"{row.name} has no {kind} of the {binds}: {row.quote}"
                if there and excused:
                    yield f"{row.name} is listed as a gap but has {kind} of the {binds}: {row.places[binds, kind][0]}"


def show(table):
    for section, title in table.titles.items():
        print(f"\n{section} {title}")
        for row in (row for row in table.rows if row.section == section):
            print(f"  {row.number:>2} {row.quote}")
            for binds in row.binds:
                for kind in ("code", "test"):
                    said = ", ".join(row.places.get((binds, kind), []))
                    said = said or "none: " + row.gaps.get((binds, kind), "NO REASON GIVEN")
                    print(f"     {binds + ' ' + kind:<13} {said}")
            for deviation in row.deviations:
                print(f"     {'deviates':<13} {deviation}")


def compare(table, path, old):
    """Checks the quotes against the text itself; yields sentences with a normative word that no row quotes."""
    text = path.read_text(encoding="utf-8")
    whole = plain(text)
    for row in table.rows:
        if row.section.startswith("0.1.2") == old and plain(row.quote) not in whole:
            yield f"{row.name}: not in {path.name}: {row.quote}"
    if old:
        return
    quotes = [plain(row.quote) for row in table.rows]
    specified = text[text.index("## 1.") :]
    for sentence in re.split(r"(?<=\.)\s+", re.sub(r"```.*?```", "", specified, flags=re.S)):
        words = plain(sentence)
        if re.search(r"\b(must|should|never|not permitted)\b", words) and not any(q in words for q in quotes):
            yield f"not in the table: {words[:150]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = pathlib.Path(__file__).resolve()
    parser.add_argument("--root", type=pathlib.Path, default=here.parents[2])
    parser.add_argument("--table", type=pathlib.Path, default=here.with_name("protocol.txt"))
    parser.add_argument("--quiet", action="store_true", help="tell mistakes only")
    parser.add_argument("--text", type=pathlib.Path, help="PROTOCOL.md 0.5.0, to check the quotes against")
    parser.add_argument("--old-text", type=pathlib.Path, help="PROTOCOL.md 0.1.2")
    options = parser.parse_args()
    try:
        table = read_table(options.table)
    except Mistake as mistake:
        print(mistake, file=sys.stderr)
        return 2
    unknown = scan(options.root, table)
    if not options.quiet:
        show(table)
    wrong = unknown + list(gaps(table))
    for path, old in ((options.text, False), (options.old_text, True)):
        wrong += compare(table, path, old) if path else []
    for line in wrong:
        print(f"trace: {line}", file=sys.stderr)
    if not options.quiet or wrong:
        listed = sum(len(row.gaps) for row in table.rows)
        deviations = sum(len(row.deviations) for row in table.rows)
        told = f"{listed} listed gaps, {deviations} listed deviations, {len(wrong)} mistakes"
        print(f"\n{len(table.rows)} sentences, {told}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
