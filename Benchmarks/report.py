#!/usr/bin/env python3
"""Reports of benchmarks: a part is a table, its charts and its raw figures; a result is its machine and its parts.

    report.py --begin FILE              the machine, as the first line of a new file
    report.py FILE perf/results/NAME    NAME.json of the lines that the benchmarks appended; from it NAME.md, NAME.html
    report.py perf/results/NAME.json    the two pages anew

A part is JSON: `id`, `kind`, `title`, `text` (paragraphs), `columns`, `rows` (cells of text, numbers right), `lost`
(what counts in no figure), `charts`, `data` (raw figures, as the benchmark has them). A chart: `title`, `unit`,
`digits`, `bars`. A bar: `name`, `value`, perhaps `low` and `high` (its whisker), `is_ours`, `note`.
"""
import argparse
import json
import pathlib

import machine
import page

FORMAT = 1


def publish(part, file=None):
    """Prints a part, and appends it to a file of lines for the report."""
    print(markdown(part), flush=True)
    if file:
        with open(file, "a") as lines:
            lines.write(json.dumps(part, ensure_ascii=False) + "\n")


def markdown(part):
    pieces = [f"### {heading(part)}", *part.get("text", [])]
    if part.get("rows"):
        pieces.append(machine.table(part["columns"], part["rows"]))
    if part.get("lost"):
        pieces.append("Lost rounds, which no figure includes:\n" + "\n".join(f"* {line}" for line in part["lost"]))
    elif "lost" in part:
        pieces.append("No errors.")
    return "\n\n".join(pieces) + "\n"


def heading(part):
    """Scenarios are known by their ids."""
    return f"{part['id']}: {part['title']}" if part["kind"] in ("load", "idle", "start", "paced") else part["title"]


def add_gates(result):
    """Instructions and allocations as columns of the scenarios that have them; another proxy's cell stays empty."""
    gates = next((part["data"] for part in result["parts"] if part["kind"] == "gates"), {})
    for part in result["parts"]:
        rows = {gate["candidate"]: gate for key, gate in gates.items() if gate_of(part, key)}
        if part["kind"] == "load" and rows and "instructions" not in part["columns"]:
            part["columns"] += ["instructions", "allocations"]
            for row in part["rows"]:
                gate = rows.get(row[0])
                row += [f"{gate['instructions']:.0f}", f"{gate['allocations']:.2f}"] if gate else ["", ""]


def gate_of(part, key):
    """S1q is S1 through martlet-queue."""
    return part["id"] == (key[:-1] if key.endswith("q") else key)


def result_of(lines):
    machine_of, *parts = map(json.loads, lines.read_text().splitlines())
    result = {"format": FORMAT, "machine": machine_of, "parts": parts}
    add_gates(result)
    return result


def write(result, target):
    target.with_suffix(".json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    texts = [f"# Results\n\n{machine.heading(result['machine'])}\n", *map(markdown, result["parts"])]
    target.with_suffix(".md").write_text("\n".join(texts))
    target.with_suffix(".html").write_text(page.html(result))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path, help="lines, or a result")
    parser.add_argument("target", type=pathlib.Path, nargs="?", help="a result, without its suffix")
    parser.add_argument("--begin", action="store_true", help="begin a file of lines")
    options = parser.parse_args()
    if options.begin:
        options.source.write_text(json.dumps(machine.description()) + "\n")
    elif options.source.suffix == ".json":
        write(json.loads(options.source.read_text()), options.source)
    elif options.target:
        write(result_of(options.source), options.target)
    else:
        parser.error("where to?")


if __name__ == "__main__":
    main()
