#!/usr/bin/env python3
"""trace.py on small made-up projects: what passes, and every way to fail."""

import io
import pathlib
import subprocess
import sys
import tempfile
import unittest

TRACE = pathlib.Path(__file__).with_name("trace.py")

TABLE = """\
# a remark
§1 Manners
  1 client: The client says hello
    cite: says hello | greets
  2 client, server: Both say goodbye
    cite: goodbye
    gap: server code, the server only listens
    gap: server test, see the code
    deviates: twice, to be sure
"""

CODE = """\
// PROTOCOL §1: the client
// says hello
fn hello() {}
// PROTOCOL §1: `goodbye`
fn goodbye() {}
/// A pointer proves nothing (`PROTOCOL §1`), nor does RFC 6455 §5.5.
fn pointer() {}

#[cfg(test)]
mod tests {
    // PROTOCOL §1: greets; §1: and says goodbye
    #[test]
    fn both() {}
}
"""


class Trace(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.root = pathlib.Path(self.directory.name)

    def trace(self, table=TABLE, code=CODE, file="src/manners.rs"):
        (self.root / "table.txt").write_text(table, encoding="utf-8")
        (self.root / file).parent.mkdir(parents=True, exist_ok=True)
        (self.root / file).write_text(code, encoding="utf-8")
        command = [sys.executable, str(TRACE), "--root", str(self.root), "--table", str(self.root / "table.txt")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def test_a_project_without_gaps_passes_and_is_shown(self):
        status, shown, told = self.trace()
        self.assertEqual((status, told), (0, ""))
        self.assertIn("client code   src/manners.rs:1\n", shown)
        self.assertIn("client test   src/manners.rs:11\n", shown)
        self.assertIn("server code   none: the server only listens\n", shown)
        self.assertIn("deviates      twice, to be sure\n", shown)

    def test_a_sentence_without_a_test_fails(self):
        status, _, told = self.trace(code=CODE.split("#[cfg(test)]")[0])
        self.assertEqual(status, 1)
        self.assertIn("§1/1 has no test of the client: The client says hello", told)

    def test_a_test_of_another_party_does_not_count(self):
        code, test = CODE.split("#[cfg(test)]")
        self.trace(code=code)
        status, _, told = self.trace(code="#[cfg(test)]" + test, file="e2e/tests/relay_server/manners.rs")
        self.assertEqual(status, 1)
        self.assertIn("§1/1 has no test of the client", told)

    def test_words_and_sections_that_the_table_does_not_know_fail(self):
        status, _, told = self.trace(code=CODE + "// PROTOCOL §1: shakes hands\n")
        self.assertEqual(status, 1)
        self.assertIn("src/manners.rs:15: no sentence of §1 is cited as 'shakes hands'", told)
        status, _, told = self.trace(code=CODE + "// as (`PROTOCOL §2`) says\n")
        self.assertEqual(status, 1)
        self.assertIn("src/manners.rs:15: no section §2", told)
        status, _, told = self.trace(code=CODE + "// PROTOCOL 0.1.2 §1: greets\n")
        self.assertEqual(status, 1)
        self.assertIn("no section 0.1.2 §1", told)

    def test_a_listed_gap_that_is_none_fails(self):
        status, _, told = self.trace(table=TABLE.replace("gap: server test", "gap: client test"))
        self.assertEqual(status, 1)
        self.assertIn("§1/2 is listed as a gap but has test of the client: src/manners.rs:11", told)

    def test_a_gap_needs_a_reason(self):
        status, _, told = self.trace(table=TABLE.replace(", the server only listens", ""))
        self.assertEqual(status, 2)
        self.assertIn("table.txt:7: a gap reads", told)

    def test_a_table_that_cannot_be_read_fails(self):
        for table in (TABLE + "    because: of this\n", TABLE + "  7 client: out of order\n", TABLE + TABLE):
            self.assertEqual(self.trace(table=table)[0], 2)


def main():
    """Says nothing unless a test fails."""
    said = io.StringIO()
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(Trace)
    if not unittest.TextTestRunner(stream=said).run(tests).wasSuccessful():
        sys.exit(said.getvalue())


if __name__ == "__main__":
    main()
