#!/usr/bin/env python3
"""Runs the commands that the documents show, and looks for dead links in them.

usage: check_docs.py --bin DIR [FILE...]    DIR holds the taskvec program; default files: README.md and docs/*.md

Every fenced block with the info string `sh test` is run by bash with `set -euo pipefail`. The blocks of one file run in order in
one new folder, in one shell, where `assets`, `.data` and `examples` are links to those of the tree, as if one stood in its root.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*(.*?)\s*$")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def blocks(text):
    """Yields (first line number, info string, lines) of every fenced block, and (number, None, [line]) of every other line."""
    opened = None
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None:
            if fence:
                opened = (number + 1, fence.group(2), len(fence.group(1)), fence.group(3), [])
            else:
                yield number, None, [line]
        elif fence and fence.group(2).startswith(opened[1]) and not fence.group(3):
            yield opened[0], opened[3], opened[4]
            opened = None
        else:
            opened[4].append(line[opened[2]:] if line[: opened[2]].isspace() else line)
    if opened:
        yield opened[0], "unclosed", opened[4]


def check_links(path, text):
    for number, info, lines in blocks(text):
        if info == "unclosed":
            yield f"{path}:{number - 1}: this fence is never closed"
        if info is not None:
            continue
        for target in LINK.findall(lines[0]):
            if re.match(r"[a-z]+:|#", target):
                continue
            if not (ROOT / path).parent.joinpath(target.split("#")[0]).exists():
                yield f"{path}:{number}: dead link: {target}"


def run(path, text, binaries):
    """Runs the blocks of one file. Returns a list of problems and how many blocks there were."""
    script = ["set -euo pipefail"]
    count = 0
    for number, info, lines in blocks(text):
        words = (info or "").split()
        if words[:1] == ["sh"] and "test" in words[1:]:
            count += 1
            script.append("trap " + shlex.quote(f'echo "{path}:$((LINENO - BLOCK + {number})): failed (exit status $?)" >&2') + " ERR")
            script.append("BLOCK=$((LINENO + 1))")
            script += lines
    if not count:
        return [], 0
    with tempfile.TemporaryDirectory(prefix="taskvec-docs-") as folder:
        for name in ("assets", ".data", "examples"):
            if (ROOT / name).exists():
                os.symlink(ROOT / name, Path(folder) / name)
        environment = dict(os.environ, PATH=f"{binaries.resolve()}:{os.environ['PATH']}")
        # A file and not -c, so that LINENO counts its lines; no traps in functions, which the blocks do not define.
        with tempfile.NamedTemporaryFile("w", suffix=".sh", encoding="utf-8") as file:
            file.write("\n".join(script) + "\n")
            file.flush()
            done = subprocess.run(["bash", file.name], cwd=folder, env=environment, stdin=subprocess.DEVNULL, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        return [f"{path}: exit status {done.returncode}; its output:\n" + "\n".join(done.stdout.splitlines()[-40:])], count
    return [], count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args()

    documents = [path.resolve().relative_to(ROOT) for path in arguments.files]
    documents = documents or [path.relative_to(ROOT) for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])]
    problems, total = [], 0
    for path in documents:
        text = (ROOT / path).read_text(encoding="utf-8")
        problems += check_links(path, text)
        found, count = run(path, text, arguments.bin)
        problems += found
        total += count
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"check_docs: {len(documents)} documents, {total} blocks run, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
