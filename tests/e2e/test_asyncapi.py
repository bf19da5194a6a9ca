"""The AsyncAPI document in the eyes of AsyncAPI's own parser."""

import json
import subprocess
from pathlib import Path

from tests.services import node_packages

PARSER = "@asyncapi/parser@3.6.3"
CHECK = """
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
console.log(JSON.stringify({ parsed: Boolean(document), faults: diagnostics.filter((found) => found.severity < 2) }));
"""


def test_asyncapis_own_parser_finds_no_fault(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"private": true}', encoding="utf-8")
    (tmp_path / "check.mjs").write_text(CHECK, encoding="utf-8")
    node_packages(tmp_path, "install", "--ignore-scripts", PARSER, timeout=170)
    document = str(Path("docs/asyncapi.json").resolve())
    done = subprocess.run(
        ["node", "check.mjs", document], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(done.stdout) == {"parsed": True, "faults": []}
