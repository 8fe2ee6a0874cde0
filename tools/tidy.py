#!/usr/bin/python3
"""tidy.py - the house style as a test: what clang-format does not see.

  - lines of at most 100 columns, no tabs, no trailing spaces
  - functions of at most 70 lines, files of at most 1000
  - every C file begins with a comment that says what it is
  - calls that belong to one place (the heap, the clock, the disk) occur nowhere else
  - no mutable statics at file scope
  - links between documents resolve; the options table in the documentation is the program's

Exceptions are named in the tables below, each with its reason.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LINE_COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 1000

# function name -> why it may be longer
LONG_FUNCTIONS = {
    "acknowledged_means_durable": "one story, told from start to end",
    "request_table": "a table of requests and what they parse to",
}

# file -> why it may have longer lines
LONG_LINES = {
    "src/command/command_table.def": "a table: one row a command",
    "src/base/limits.h": "a table: one row a bound",
}

# pattern, folders it is looked for in, files that may use it, what to use instead
BANNED = [
    (r"\b(malloc|calloc|realloc|strdup|strndup|asprintf|posix_memalign|aligned_alloc)\s*\(",
     ["src"], {"src/base/mem.c"}, "mem_alloc and friends (base/mem.h)"),
    # text.c lays out numbers of known size; io_usage.c reads two numbers that the kernel wrote.
    (r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|strncpy|strncat|scanf|sscanf|atoi|atol)\s*\(",
     ["src"], {"src/base/text.c", "src/io/io_usage.c"},
     "struct buffer, struct slice, base/text.h"),
    (r"(?<![>.\w])(rand|srand|random|drand48|time|gettimeofday|localtime|gmtime|ctime)\s*\(",
     ["src"], set(), "base/prng.h and the clock of io.h"),
    (r"\b(alloca|setjmp|longjmp|system|popen)\s*\(", ["src"], set(), "nothing"),
    (r"\bgoto\b", ["src"], set(), "early returns"),
]


class Tidy:
    def __init__(self):
        self.problems = 0

    def report(self, path, line, text):
        print(f"{path}:{line}: {text}")
        self.problems += 1


def repository_files():
    output = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in output.splitlines() if os.path.isfile(os.path.join(ROOT, path))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def without_comments(text):
    """The same lines with comments and strings blanked."""
    def blank(match):
        piece = match.group(0)
        if piece.startswith("/"):
            return re.sub(r"[^\n]", " ", piece)
        return piece[0] + re.sub(r"[^\n]", " ", piece[1:-1]) + piece[-1]
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, blank, text, flags=re.S)


def check_lines(tidy, path, text):
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > LINE_COLUMNS_MAX and path not in LONG_LINES:
            tidy.report(path, number, f"{len(line)} columns, at most {LINE_COLUMNS_MAX}")
        if "\t" in line and path.endswith((".c", ".h", ".py", ".def")):
            tidy.report(path, number, "a tab")
        if line != line.rstrip():
            tidy.report(path, number, "spaces at the end of the line")


def check_functions(tidy, path, lines):
    """A function begins with a brace in column 0 and ends with one."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line.startswith("}") and start is not None:
            length = number - start + 1
            name = function_name(lines, start)
            if length > FUNCTION_LINES_MAX and name not in LONG_FUNCTIONS:
                tidy.report(path, start, f"{name} has {length} lines, at most {FUNCTION_LINES_MAX}")
            start = None


def function_name(lines, brace):
    head = " ".join(line for line in lines[max(0, brace - 6):brace - 1]
                    if not line.startswith("#"))
    test = re.search(r"TEST\((\w+)\)$", head.strip())
    if test:
        return test.group(1)
    names = re.findall(r"(\w+)\s*\(", head.split(";")[-1].split("}")[-1])
    return names[0] if names else "?"


def check_banned(tidy, path, lines):
    for pattern, folders, allowed, instead in BANNED:
        if path.split("/")[0] not in folders or path in allowed:
            continue
        for number, line in enumerate(lines, 1):
            match = re.search(pattern, line)
            if match:
                tidy.report(path, number, f"{match.group(0).strip()}: use {instead}")


# What a signal handler can reach has nowhere else to be.
MUTABLE_STATICS = {"src/main.c": {"stop_signals", "wants_log_reopened", "signal_io"}}
STATIC = re.compile(r"^static (?!const\b|inline\b)[\w\s\*]*?\b(\w+)(\[[^\]]*\])*\s*(=|;)")


def check_statics(tidy, path, lines):
    for number, line in enumerate(lines, 1):
        match = STATIC.match(line)
        if match and "const " not in line and match.group(1) not in MUTABLE_STATICS.get(path, ()):
            tidy.report(path, number, "a mutable static: state hangs off a struct")


def check_c(tidy, path):
    text = read(path)
    check_lines(tidy, path, text)
    if not text.startswith("/*\n * "):
        tidy.report(path, 1, "no comment at the top that says what the file is")
    lines = without_comments(text).split("\n")
    if len(lines) > FILE_LINES_MAX + 1:
        tidy.report(path, 1, f"{len(lines) - 1} lines, at most {FILE_LINES_MAX}")
    check_functions(tidy, path, lines)
    check_banned(tidy, path, lines)
    if path.startswith("src/"):
        check_statics(tidy, path, lines)


def check_links(tidy, path):
    in_code = False
    for number, line in enumerate(read(path).split("\n"), 1):
        in_code ^= line.startswith("```")
        for target in re.findall(r"\]\(([^)\s]+)\)", "" if in_code else line):
            name = target.split("#")[0]
            if not name or re.match(r"[a-z]+:", name):
                continue
            where = os.path.normpath(os.path.join(ROOT, os.path.dirname(path), name))
            if not os.path.exists(where):
                tidy.report(path, number, f"link to {name}, which does not exist")


def check_options_table(tidy):
    """docs/OPERATIONS.md holds what `minidb --help=markdown` prints, where there is a program."""
    program, document = os.path.join(ROOT, "build/minidb"), "docs/OPERATIONS.md"
    if not os.path.exists(program) or not os.path.exists(os.path.join(ROOT, document)):
        return
    table = subprocess.run([program, "--help=markdown"], capture_output=True, text=True).stdout
    if table.strip() not in read(document):
        tidy.report(document, 1, "the options table is out of date: minidb --help=markdown")


def main():
    tidy = Tidy()
    files = repository_files()
    for path in files:
        if path.endswith((".c", ".h")):
            check_c(tidy, path)
        elif path.endswith((".def", ".py", ".sh")):
            check_lines(tidy, path, read(path))
        elif path.endswith(".md"):
            check_links(tidy, path)
    check_options_table(tidy)
    print(f"tidy: {len(files)} files, {tidy.problems} problems")
    return 1 if tidy.problems else 0


if __name__ == "__main__":
    sys.exit(main())
