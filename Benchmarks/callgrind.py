"""Runs a program under callgrind and reads what it wrote: instructions and calls by function, a thread each."""
import collections
import dataclasses
import os
import pathlib
import re
import subprocess

import machine

PATIENCE = 120  # seconds: a program under callgrind is some fifty times slower, at its start and at its end
ALLOCATORS = {"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"}
# Callgrind passes on what the CPU can do, and libraries choose their code by it. These make every CPU of the last ten
# years the same: no AVX and no fast `rep movsb` in libc, no AVX and nothing newer in libcrypto (AES-NI stays).
PLAIN_CPU = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-BMI1,-BMI2,-LZCNT,-MOVBE,-ERMS,-FSRM,"
                      "-AVX_Fast_Unaligned_Load,Fast_Unaligned_Copy",
    "OPENSSL_ia32cap": "~0x1040000000000000:0"}  # AVX and MOVBE of the first word; the second whole


@dataclasses.dataclass
class Profile:
    """What one thread did. Functions without a name count for their library."""
    costs: collections.Counter = dataclasses.field(default_factory=collections.Counter)     # instructions of its own
    calls: collections.Counter = dataclasses.field(default_factory=collections.Counter)     # times it was called

    @property
    def total(self):
        return sum(self.costs.values())

    def slope(self, longer, requests):
        """What each of so many more requests cost."""
        difference = Profile()
        for mine, others, result in [(self.costs, longer.costs, difference.costs),
                                     (self.calls, longer.calls, difference.calls)]:
            for name in mine.keys() | others.keys():
                result[name] = (others[name] - mine[name]) / requests
        return difference

    @property
    def allocations(self):
        return sum(count for name, count in self.calls.items() if name in ALLOCATORS)


class Names:
    """Names are written out once, as `(7) name`, and `(7)` from then on."""

    def __init__(self):
        self.known = {}

    def resolve(self, text):
        number, _, name = text.partition(" ")
        return self.known.setdefault(number, name) if name else self.known.get(number, number)


def read(path):
    """The profile of a file of callgrind (its format 1, one position and one event a line)."""
    profile, functions, objects = Profile(), Names(), Names()
    own_object = callee_object = function = callee = ""
    is_cost_of_call = False

    def called(name, place):
        return f"{pathlib.Path(place).name}, no name" if name.startswith("0x") else name

    for line in path.read_text(errors="replace").splitlines():
        if line[:1] in "0123456789+-*" and line:
            if not is_cost_of_call:
                profile.costs[function] += int((line.split() + ["0"])[1])
            is_cost_of_call = False
        elif line.startswith("ob="):
            own_object = callee_object = objects.resolve(line[3:])
        elif line.startswith("cob="):
            callee_object = objects.resolve(line[4:])
        elif line.startswith("fn="):
            function, callee_object = called(functions.resolve(line[3:]), own_object), own_object
        elif line.startswith("cfn="):
            callee = called(functions.resolve(line[4:]), callee_object)
        elif line.startswith("calls="):
            profile.calls[callee] += int(line[6:].split()[0])
            is_cost_of_call, callee_object = True, own_object
    return profile


def without_debug_information(program, folder):
    """A copy: valgrind does not read what Swift's compiler writes there. The names of functions stay."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / pathlib.Path(program).name
    source = os.stat(program)
    if not copy.exists() or copy.stat().st_mtime_ns != source.st_mtime_ns:
        subprocess.run(["strip", "-g", "-o", copy, program], check=True)
        os.utime(copy, ns=(source.st_atime_ns, source.st_mtime_ns))   # an older program is another one, too
    return copy


def command(program, output):
    """`program` is a command; the files are `output`-01 and so on, one for each thread."""
    return ["valgrind", "--tool=callgrind", "--separate-threads=yes", "--error-exitcode=0", "-q",
            f"--callgrind-out-file={output}", *program]


def threads(output):
    """{number: profile} of each thread, in the order in which they began."""
    found = {path.name.rpartition("-")[2]: read(path) for path in sorted(output.parent.glob(f"{output.name}-*"))}
    if not found:
        raise RuntimeError(f"callgrind wrote nothing to {output}; see its log")
    return found


def demangled(names):
    """{name as linked: name as written}. Swift's own tool; specialized and merged copies fall together."""
    names = sorted(names)
    swift = os.environ.get("SWIFT", "swift")
    done = subprocess.run([swift, "demangle", "--simplified", "--compact"], input="\n".join(names), text=True,
                          capture_output=True, check=True)
    return {name: plain(line) for name, line in zip(names, done.stdout.splitlines())}


def plain(name):
    name = re.sub(r"^((generic |function signature |merged |partial apply |outlined )*"
                  r"(specializations? <[^>]*>|specialized|specialization) (of )?)+", "", name)
    return name if len(name) <= 160 else name[:157] + "..."
