#!/usr/bin/env python3
"""Writes src/value/case_tables.c: full Unicode case mappings and the properties that the final sigma rule needs.

The data is that of the Python that runs this (unicodedata.unidata_version). Run it by hand when a newer Unicode is wanted:

    scripts/make-case-tables.py > src/value/case_tables.c
"""
import unicodedata

POINTS = [c for c in range(0x80, 0x110000) if not 0xD800 <= c < 0xE000]


def mapping(f):
    """Ranges (first, last, step, delta) of one-to-one mappings, and specials (code, [codes])."""
    ranges, specials = [], []
    for c in POINTS:
        m = [ord(x) for x in f(chr(c))]
        if m == [c]:
            continue
        if len(m) > 1:
            specials.append((c, m))
            continue
        d = m[0] - c
        if ranges:
            first, last, step, delta = ranges[-1]
            if delta == d and (c - last == step or (step == 0 and c - last <= 2)):
                ranges[-1] = (first, c, c - last, delta)
                continue
        ranges.append((c, c, 0, d))
    return [(a, b, s or 1, d) for a, b, s, d in ranges], specials


def prop(test):
    out = []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000 or not test(chr(c)):
            continue
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def cased(c):
    return (c + "\u03a3").lower().endswith("\u03c2")


def ignorable(c):
    return not cased(c) and ("A" + c + "\u03a3").lower().endswith("\u03c2")


def emit(name, type_, rows):
    print("const struct %s %s[] = {" % (type_, name))
    line = "\t"
    for r in rows:
        item = "{" + ", ".join(r) + "}, "
        if len(line.expandtabs(8)) + len(item) > 128:
            print(line.rstrip())
            line = "\t"
        line += item
    print(line.rstrip())
    print("};")
    print("const size_t %s_count = sizeof(%s) / sizeof(%s[0]);\n" % (name, name, name))


print("/* case_tables.c: written by scripts/make-case-tables.py from Unicode %s. Not for editing. */" % unicodedata.unidata_version)
print("/* clang-format off */")
print('#include "value/case_tables.h"\n')
for name, f in (("upper", str.upper), ("lower", str.lower)):
    ranges, specials = mapping(f)
    emit("case_%s_ranges" % name, "case_range", [(hex(a), hex(b), str(s), str(d)) for a, b, s, d in ranges])
    emit("case_%s_specials" % name, "case_special", [(hex(c), "{" + ", ".join(hex(x) for x in m) + "}") for c, m in specials])
emit("case_cased", "case_property", [(hex(a), hex(b)) for a, b in prop(cased)])
emit("case_ignorable", "case_property", [(hex(a), hex(b)) for a, b in prop(ignorable)])
