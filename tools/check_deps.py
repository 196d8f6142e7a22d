#!/usr/bin/env python3
"""Holds the tree against the ladder of docs/architecture.md: a rung uses the rungs above it and nothing below.

usage: check_deps.py [--build DIR]    DIR/compile_commands.json also shows source files that no target builds
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# rung -> the rungs that it may use, with all that those may use.
LADDER = {
    "core": [],
    "kernels": ["core"],
    "formats": ["kernels"],
    "edit": ["formats"],
    "search": ["core"],
    "report": ["core"],
    "text": ["core"],
    "bridge": ["formats"],
    "data": ["bridge", "text"],
    "models": ["bridge"],
    "tangent": ["models"],
    "train": ["models", "tangent", "data", "report"],
    "eval": ["models", "data", "edit", "train", "tangent", "search", "report"],
    "demo": ["eval", "train", "search", "report"],
    "analysis": ["tangent", "eval", "report"],
}
# The folders of a rung in their order, "." for its own files: each may use those before it.
FOLDERS = {"edit": ["methods", "expression", "sources", ".", "executors", "extract"]}
WITHOUT_LIBTORCH = {"core", "kernels", "formats", "edit", "search", "report", "text"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
LIBTORCH = re.compile(r"(torch|ATen|c10|caffe2)/")
RUNG = re.compile(r"taskvec_rung\s*\(\s*(\w+)(.*?)\)", re.S)
KEYWORDS = {"TORCH", "USES", "LINKS"}


def allowed(rung):
    """The rung itself and everything above it that it may use."""
    result = {rung}
    for used in LADDER[rung]:
        result |= allowed(used)
    return result


def room(path):
    """(rungs that the file may include, whether it may include libtorch, what to call the place)."""
    top, *rest = path.parts
    if top in ("taskvec", "tests") and rest[0] in LADDER:
        return allowed(rest[0]), rest[0] not in WITHOUT_LIBTORCH, f"{top}/{rest[0]}"
    if top == "cli" and rest[0] != "torch":
        return WITHOUT_LIBTORCH, False, "cli (outside cli/torch)"
    return set(LADDER), True, top


def folder_of(path):
    """The folder inside of its rung, "." for the rung itself."""
    return path.parts[2] if len(path.parts) > 3 else "."


def check_document():
    """The table of docs/architecture.md has the rungs in an order in which each stands below those that it uses."""
    document = ROOT / "docs/architecture.md"
    above, below, line = [], [], False
    for text in document.read_text(encoding="utf-8").splitlines():
        if text.startswith("| – |"):
            line = True
        elif match := re.match(r"\| `(\w+)` \|", text):
            (below if line else above).append(match.group(1))
    if set(above) != WITHOUT_LIBTORCH or set(above + below) != set(LADDER):
        yield f"{document.name}: its table has {', '.join(above)} above the line and {', '.join(below)} below it; tools/check_deps.py has others"
        return
    order = above + below
    for rung in order:
        for used in LADDER[rung]:
            if order.index(used) > order.index(rung):
                yield f"{document.name}: {rung} uses {used}, which stands below it"
    for rung in order:
        if not (ROOT / "taskvec" / rung).is_dir():
            yield f"{document.name}: there is no folder taskvec/{rung}"


def check_includes(path, text):
    if path.parts[0] == "taskvec" and path.parts[1] not in LADDER:
        yield f"{path}: '{path.parts[1]}' is not a rung of the ladder in tools/check_deps.py"
        return
    rungs, torch, place = room(path)
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        kind, name = match.groups()
        if LIBTORCH.match(name):
            if not torch:
                yield f"{path}:{number}: {place} is above the libtorch line, but includes {name}"
        elif name.startswith("taskvec/"):
            rung = name.split("/")[1]
            if kind == "<":
                yield f'{path}:{number}: write "{name}" in quotes'
            if rung == path.parts[1] and path.parts[0] == "taskvec" and rung in FOLDERS:
                order = FOLDERS[rung]
                ours, theirs = (folder_of(Path(file)) for file in (path, name))
                if order.index(theirs) > order.index(ours):
                    yield f"{path}:{number}: {rung}/{ours} may not use {rung}/{theirs}, which comes behind it"
            if rung not in rungs:
                yield f"{path}:{number}: {place} may not use {rung} (it may use: {', '.join(sorted(rungs)) or 'nothing'})"
            elif not (ROOT / name).is_file():
                yield f"{path}:{number}: no such file: {name}"


def check_cmake(path, text):
    for match in RUNG.finditer(text):
        rung, words = match.group(1), match.group(2).split()
        if path.parent.name != rung or rung not in LADDER:
            yield f"{path}: declares the rung '{rung}', which is not its folder in the ladder"
            continue
        if ("TORCH" in words) == (rung in WITHOUT_LIBTORCH):
            yield f"{path}: TORCH does not fit: {rung} is {'above' if rung in WITHOUT_LIBTORCH else 'below'} the libtorch line"
        section = ""
        for word in words:
            if word in KEYWORDS:
                section = word
            elif section == "USES" and word not in allowed(rung) - {rung}:
                yield f"{path}: {rung} may not use {word}"
            elif section == "LINKS" and word.startswith("taskvec"):
                yield f"{path}: name {word} under USES, not LINKS"


def check_targets(sources, build):
    commands = build / "compile_commands.json"
    if not commands.is_file():
        yield f"{commands}: not there; configure the build first"
        return
    built = {Path(entry["file"]).resolve() for entry in json.loads(commands.read_text())}
    for path in sources:
        if (ROOT / path).resolve() not in built:
            yield f"{path}: in no target"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, help="a configured build folder that has every target")
    arguments = parser.parse_args()

    files = sorted(
        path.relative_to(ROOT)
        for top in ("taskvec", "cli", "tests", "bench")
        for path in (ROOT / top).rglob("*")
        if path.suffix in (".h", ".cpp") or path.name == "CMakeLists.txt"
    )
    problems = list(check_document())
    for path in files:
        text = (ROOT / path).read_text(encoding="utf-8")
        problems += check_cmake(path, text) if path.name == "CMakeLists.txt" else check_includes(path, text)
    if arguments.build:
        problems += check_targets([path for path in files if path.suffix == ".cpp"], arguments.build)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"check_deps: {len(files)} files, {len(problems)} problem{'' if len(problems) == 1 else 's'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
